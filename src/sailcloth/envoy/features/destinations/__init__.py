"""`http[].route`: where requests go, by weight.

Envoy: `route.cluster` for one destination, `weighted_clusters` for several; destinations of weight 0 are left out, weights
need not add up to 100. Headers of a single destination are set by the `headers` feature on the route. An unknown service
still yields its cluster's name, which Envoy answers with 503 (NC), as in Istio; delivery holds such routes back while it can.
"""
