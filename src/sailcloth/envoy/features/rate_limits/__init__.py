"""RateLimit: what a workload accepts, by request and by connection. A kind of our own; Istio leaves this to EnvoyFilters.

LOCAL limits are token buckets in each proxy (`local_ratelimit`), GLOBAL ones are asked of the control plane, which counts for all
replicas together (`ratelimit`, over the proxy's own discovery connection). A limit that cannot be asked for lets requests pass.
Every rule that matches counts. What exceeds a limit gets 429 with `x-envoy-ratelimited`; connections are closed.
"""
