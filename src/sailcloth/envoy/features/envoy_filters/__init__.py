"""EnvoyFilter: users' patches, applied last, to finished resources. Source: istio.md 1.7.

Order: by priority, then filters of the root namespace, then by age. `match.proxy` decides for each proxy, `match.context` by
traffic, the rest by what is patched. A patch that cannot be compiled, or whose application fails, changes nothing and says why;
each application is counted, so that the object's status can tell a patch that matched nothing.

`compiled` turns a patch's value into a message once, `places` says where a patch applies, `emit` changes a resource.

Anchors on filters that only Istio's proxy has (`istio.stats`, `istio.alpn`, `istio.metadata_exchange`) stand for the place where
they would be. Differs from Istio: an HTTP filter that is added at the end goes before the router, which must be last.
"""
