"""EnvoyFilter: users' own patches, applied last, to the messages that everything else has made. Source: istio.md 1.7.

`compiled` turns a patch's value into a message once, `places` says where a patch applies, `apply` changes a resource. A patch that
cannot be compiled, or whose application fails, changes nothing and says why; each application is counted, so that the object's
status can tell a patch that matched nothing.

Anchors on filters that only Istio's proxy has (`istio.stats`, `istio.alpn`, `istio.metadata_exchange`) stand for the place where
they would be. Differs from Istio: an HTTP filter that is added at the end goes before the router, which must be last.
"""
