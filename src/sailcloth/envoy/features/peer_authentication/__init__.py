"""PeerAuthentication: whether a workload's ports accept mutual TLS, plain text, or both.

Levels: mesh, namespace, workload, port. The oldest object of a level is used; UNSET inherits; the default is PERMISSIVE
(`mesh.peer_authentication`; clients use it, too, and send no mutual TLS to a port in mode DISABLE). Envoy gets filter chains
that match transport and ALPN. In STRICT mode no chain accepts plain text, not even the passthrough chains, where Istio does.
Source: istio.md 2.9.
"""
