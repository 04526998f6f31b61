"""PeerAuthentication: whether a workload's ports take mutual TLS, plain text, or both.

Mesh, then namespace, then workload, then port; the oldest object counts at each level, UNSET inherits, nothing means PERMISSIVE
(`mesh.peer_authentication`, which callers read too: a port that is DISABLE gets no mutual TLS from them). Envoy gets filter chains
that tell connections apart by transport and ALPN. STRICT means STRICT: no chain takes plain text, not even the pass-through
chains, where Istio keeps them. Source: istio.md 2.9.
"""
