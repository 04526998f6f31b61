"""`http[].retries`: when and how often a failed request is tried again.

Default: 2 retries on connect-failure, refused-stream, unavailable, cancelled and retriable-status-codes, on other hosts than
those already tried (not with a consistent hash). `attempts: 0` turns retries off. Numbers in retryOn become
`retriable_status_codes`. `perTryTimeout` defaults to the route's timeout. Source: istio.md 0.1, 1.1, 2.3.
"""
