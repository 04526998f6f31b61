"""`http[].route`: weighted destinations of requests.

Envoy: `route.cluster` for one destination, `weighted_clusters` for several, without destinations of weight 0; weights need not
add up to 100. The `headers` feature sets headers of a single destination on the route. A route to an unknown service still
names its cluster, and Envoy answers 503 (NC), as in Istio; `controlplane.activation` blocks such routes if it can.
"""
