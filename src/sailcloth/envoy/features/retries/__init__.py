"""`http[].retries`: when and how often a failed request is retried.

Default: 2 retries on connect-failure, refused-stream, reset-before-request and retriable-status-codes, on other endpoints
than before (not with a consistent hash). Istio also retries on `unavailable` and `cancelled`, which a gRPC application answers
after it has got a request: what it did by then would be done twice. `retryOn`, or `defaultHttpRetryPolicy` for the mesh, adds them. `attempts: 0` disables retries. Numbers in retryOn become
`retriable_status_codes`. `perTryTimeout` defaults to the route's timeout. Source: istio.md 0.1, 1.1, 2.3.
"""
