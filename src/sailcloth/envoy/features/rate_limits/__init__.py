"""RateLimit: limits of requests and connections of a workload. Sailcloth's own kind; Istio needs EnvoyFilters for this.

LOCAL limits are token buckets in each proxy (`local_ratelimit`). For GLOBAL limits the control plane counts over all replicas
(`ratelimit`, through the agent's connection); if it does not answer, requests are admitted. Every matching rule counts. Requests
over a limit get 429 with `x-envoy-ratelimited`; connections over the limit are closed.
"""
