"""Connection pools as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2

from sailcloth.api.destination_rule import ConnectionPoolSettings
from sailcloth.api.meta import duration_ms
from sailcloth.envoy.protobuf import duration
from sailcloth.mesh.model import MeshConfig
from sailcloth.view.clusters import ClusterPlan

UNLIMITED = 2**32 - 1


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets `connect_timeout`, `circuit_breakers` and keepalive of an outbound cluster."""
    _limit(plan.policy.connection_pool, plan.config, out)
    budget = plan.policy.retry_budget
    if budget is not None:  # a budget replaces the fixed number
        limits = out.circuit_breakers.thresholds[-1]
        limits.ClearField("max_retries")
        limits.retry_budget.budget_percent.value = 20.0 if budget.percent is None else budget.percent
        least = budget.min_retry_concurrency
        limits.retry_budget.min_retry_concurrency.value = 3 if least is None else least
    out.circuit_breakers.thresholds[-1].track_remaining = True
    _keepalive(plan.policy.connection_pool, plan.config, out)


def inbound(pool: ConnectionPoolSettings | None, config: MeshConfig, out: cluster_pb2.Cluster) -> None:
    """Sets the same for an application's port; keepalive only if a Sidecar configures it."""
    _limit(pool, config, out)
    if pool is not None:
        _keepalive(pool, config, out)


def _limit(pool: ConnectionPoolSettings | None, config: MeshConfig, out: cluster_pb2.Cluster) -> None:
    tcp = pool.tcp if pool else None
    http = pool.http if pool else None
    connect = duration_ms(tcp.connect_timeout) if tcp and tcp.connect_timeout else config.connect_timeout_ms
    out.connect_timeout.CopyFrom(duration(connect or config.connect_timeout_ms))
    limits = out.circuit_breakers.thresholds.add()
    limits.max_connections.value = (tcp.max_connections if tcp else None) or UNLIMITED
    limits.max_pending_requests.value = (http.http1_max_pending_requests if http else None) or UNLIMITED
    limits.max_requests.value = (http.http2_max_requests if http else None) or UNLIMITED
    limits.max_retries.value = (http.max_retries if http else None) or UNLIMITED


def _keepalive(pool: ConnectionPoolSettings | None, config: MeshConfig, out: cluster_pb2.Cluster) -> None:
    tcp = pool.tcp if pool else None
    settings = (tcp.tcp_keepalive if tcp is not None else None) or config.keepalive
    if settings is None:
        return
    keepalive = out.upstream_connection_options.tcp_keepalive
    keepalive.SetInParent()
    if settings.probes:
        keepalive.keepalive_probes.value = settings.probes
    if settings.time:
        keepalive.keepalive_time.value = int((duration_ms(settings.time) or 0) / 1000)
    if settings.interval:
        keepalive.keepalive_interval.value = int((duration_ms(settings.interval) or 0) / 1000)
