"""`trafficPolicy.outlierDetection`: endpoints that fail are taken out for a time.

Absent: none. Present: consecutive 5xx errors 5, interval 10 s, ejection 30 s, at most 10 % of the endpoints; success-rate
ejection is off; below `minHealthPercent` (default 0) ejection stops counting (panic). Source: istio.md 2.16.

Without `maxEjectionPercent` one endpoint may always be ejected, as in Envoy until 1.27: published tasks rely on it where they
fail over from the only endpoint of a locality.
"""
