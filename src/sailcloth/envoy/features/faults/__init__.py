"""`http[].fault`: delays and aborts injected by the client's proxy.

A missing percentage means 0 % (nothing is injected), as in Istio's API; `percent` is the older whole-number form. Envoy: the
fault filter, listed but disabled in every listener and enabled per route, so that routes without faults do not pay for it and
adding a fault never changes a listener.
"""
