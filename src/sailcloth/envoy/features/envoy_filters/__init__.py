"""EnvoyFilter: users' patches of finished resources, applied last. Source: istio.md 1.7.

Order: by priority, then filters of the root namespace, then by age. `match.proxy` selects proxies, `match.context` traffic, the
rest of a match the patched message. A patch that cannot be compiled changes nothing, and the object's status says why. Each
application is counted, so that the status shows patches that matched nothing.

`compiled` parses a patch's value to a message once, `matches` decides where a patch applies, `emit` changes a resource.

Matches on filters that only Istio's proxy has (`istio.stats`, `istio.alpn`, `istio.metadata_exchange`) mean the position where
those would be. Differs from Istio: an HTTP filter added at the end is put before the router, which must be last.
"""
