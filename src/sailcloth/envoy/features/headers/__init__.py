"""`headers` of a rule and of its destinations: set, add and remove on request and response.

set overwrites, add appends, keys are applied in sorted order. `host` and `:authority` in a request's set or add rewrite the
authority; other pseudo-headers are ignored. Envoy: `*_headers_to_add|remove` of the route and of weighted clusters,
`host_rewrite_literal`.
"""
