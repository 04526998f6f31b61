"""TLS to a destination: automatic mutual TLS, and `trafficPolicy.tls`.

By default, endpoints with a sidecar whose PeerAuthentication accepts mutual TLS get it, with the workload's certificate and
verification of the service's SPIFFE identities; other endpoints get plain text. Endpoint metadata selects the transport.
ISTIO_MUTUAL forces mutual TLS, DISABLE forbids it, SIMPLE and MUTUAL verify with the system's CA certificates or given files.
ALPN announces the protocol inside: istio-h2 or istio-http/1.1 for HTTP ports, istio for others. Source: istio.md 2.10.
"""
