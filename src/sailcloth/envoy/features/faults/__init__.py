"""`http[].fault`: delays and aborts injected by the client's proxy.

A missing percentage means 0 % (nothing is injected), as in Istio's API; `percent` is the older whole-number form. Envoy: the
fault filter, in every listener but disabled, and enabled per route, so that routes without faults have no cost and adding a
fault never changes a listener.
"""
