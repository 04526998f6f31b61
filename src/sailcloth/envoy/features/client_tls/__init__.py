"""TLS towards a host: automatic mutual TLS, and `trafficPolicy.tls`.

Without a rule, endpoints that have a sidecar (and whose PeerAuthentication takes it) get mutual TLS with the mesh's own
certificate and the service's SPIFFE identities verified; others get plain text: told apart per endpoint by metadata.
ISTIO_MUTUAL forces mutual TLS, DISABLE forbids it, SIMPLE and MUTUAL verify against the system's roots or given files.
ALPN tells the server what is inside: istio-h2 or istio-http/1.1 for HTTP ports, istio for the rest. Source: istio.md 2.10.
"""
