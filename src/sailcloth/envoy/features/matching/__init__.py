"""`http[].match`: which requests a route matches.

User: uri, scheme, method, authority, headers, withoutHeaders, queryParams, ignoreUriCase. The conditions of one match are ANDed;
several matches become several Envoy routes. Envoy: `route.match`. A uri prefix is a plain string prefix (`/foo` matches
`/foobar`), as in Istio. An empty header match, or the regex `*`, means "is present". `view.routes` evaluates port, source
labels, namespace and gateways before.
"""
