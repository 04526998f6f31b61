"""`http[].match`: which requests a route takes.

User: uri, scheme, method, authority, headers, withoutHeaders, queryParams, ignoreUriCase. Conditions in one match are AND,
several matches are several Envoy routes. Envoy: `route.match`. A uri prefix is a plain string prefix (`/foo` takes
`/foobar`), as in Istio; an empty header match means "is present"; a header regex of `*` means the same.
Port, source labels, namespace and gateways are decided before (view.routes).
"""
