"""`trafficPolicy.connectionPool`: limits for connections and requests (the circuit breaker), and timeouts.

Default: no limits (2^32-1), 10 s to connect. Requests over a limit fail at once with 503 (UO). Envoy: `circuit_breakers`,
`connect_timeout`, TCP keepalive, HTTP protocol options (set by the `protocols` feature from the same plan).

A retry budget replaces `maxRetries`; its `budgetInterval` is not in Envoy's API yet and has no effect.
"""
