"""`trafficPolicy.loadBalancer`: how an endpoint is chosen.

Default LEAST_REQUEST; ROUND_ROBIN, RANDOM; PASSTHROUGH sends to the address that the caller dialled. Consistent hashing is a
ring (least size 1024) or Maglev on the cluster, and a hash policy on every route to it. With several policies only the first
that yields a value counts (`terminal`). `warmup` is Envoy's slow start.
"""
