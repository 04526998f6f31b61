"""`http[].mirror`, `mirrors`: sends copies of requests to other destinations, and discards the responses.

Default 100 %; an explicit 0 means none. The copied request keeps its Host header (no `-shadow` suffix), as in Istio.
Envoy: `route.request_mirror_policies`.
"""
