"""Converts plans to Envoy's protobuf messages and bytes.

`resources/` builds messages, `names` names them, `features/<one per Istio feature>/` implements features, `pipeline` orders them,
`build` connects them to the incremental graph. Must not do I/O, or know which proxies are connected.
"""
