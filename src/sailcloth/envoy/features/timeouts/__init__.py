"""`http[].timeout`: time limit of the whole request, including retries.

Default: none (Envoy's own default of 15 s is disabled). Envoy: `route.timeout`, and `max_grpc_timeout`
so that a caller's grpc-timeout cannot exceed it.
"""
