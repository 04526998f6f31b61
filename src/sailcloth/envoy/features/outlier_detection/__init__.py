"""`trafficPolicy.outlierDetection`: ejects failing endpoints for a time.

Absent: off. Defaults: 5 consecutive 5xx errors, interval 10 s, ejection 30 s, at most 10 % of the endpoints; success-rate
ejection is off; below `minHealthPercent` (default 0) ejections are ignored (panic threshold). Source: istio.md 2.16.

Without `maxEjectionPercent` one endpoint may always be ejected, as in Envoy until 1.27. Istio's locality failover task relies
on it, because it ejects the only endpoint of a locality.
"""
