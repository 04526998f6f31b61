"""`trafficPolicy.loadBalancer`: how Envoy chooses an endpoint.

Default LEAST_REQUEST; ROUND_ROBIN, RANDOM; PASSTHROUGH uses the original destination address. Consistent hashing is a ring hash
(minimum size 1024) or Maglev on the cluster, and a hash policy on every route to it. Of several hash policies, the first with a
value is used (`terminal`). `backendUtilization` weights endpoints by the load in their responses (ORCA). `warmup` is Envoy's slow start.
"""
