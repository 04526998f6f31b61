"""`http[].timeout`: limit for the whole request, retries included.

Default: none (Envoy's own default of 15 s is turned off). Envoy: `route.timeout`, and `max_grpc_timeout`
so that a caller's grpc-timeout cannot exceed it.
"""
