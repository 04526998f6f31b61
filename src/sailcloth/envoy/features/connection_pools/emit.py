"""Connection pools as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.envoy.protobuf import duration
from sailcloth.view.clusters import ClusterPlan

UNLIMITED = 2**32 - 1


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets `connect_timeout`, `circuit_breakers` and keepalive."""
    pool = plan.policy.connection_pool
    tcp = pool.tcp if pool else None
    http = pool.http if pool else None
    connect = duration_ms(tcp.connect_timeout) if tcp and tcp.connect_timeout else plan.config.connect_timeout_ms
    out.connect_timeout.CopyFrom(duration(connect or plan.config.connect_timeout_ms))
    limits = circuit_breaker_pb2.CircuitBreakers.Thresholds(track_remaining=True)
    limits.max_connections.value = (tcp.max_connections if tcp else None) or UNLIMITED
    limits.max_pending_requests.value = (http.http1_max_pending_requests if http else None) or UNLIMITED
    limits.max_requests.value = (http.http2_max_requests if http else None) or UNLIMITED
    limits.max_retries.value = (http.max_retries if http else None) or UNLIMITED
    budget = plan.policy.retry_budget
    if budget is not None:  # a budget takes the place of the fixed number
        limits.ClearField("max_retries")
        limits.retry_budget.budget_percent.value = 20.0 if budget.percent is None else budget.percent
        least = budget.min_retry_concurrency
        limits.retry_budget.min_retry_concurrency.value = 3 if least is None else least
    out.circuit_breakers.thresholds.append(limits)
    wanted = (tcp.tcp_keepalive if tcp is not None else None) or plan.config.keepalive
    if wanted is not None:
        keepalive = out.upstream_connection_options.tcp_keepalive
        keepalive.SetInParent()
        if wanted.probes:
            keepalive.keepalive_probes.value = wanted.probes
        if wanted.time:
            keepalive.keepalive_time.value = int((duration_ms(wanted.time) or 0) / 1000)
        if wanted.interval:
            keepalive.keepalive_interval.value = int((duration_ms(wanted.interval) or 0) / 1000)
