"""Protocol of a cluster: HTTP/1.1, HTTP/2, or the caller's own; and the HTTP limits that belong to it.

Declared HTTP ports use HTTP/2 between sidecars (measured: less CPU and latency under concurrency), unless the
DestinationRule says DO_NOT_UPGRADE or some endpoint has no sidecar. HTTP2 and gRPC ports always use HTTP/2. Detected ports
follow the caller. This differs from Istio, where HTTP/1.1 is never upgraded by default.
"""
