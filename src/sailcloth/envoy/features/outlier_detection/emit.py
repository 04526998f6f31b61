"""Outlier detection as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2

from sailcloth.api.meta import duration_ms
from sailcloth.envoy.protobuf import duration
from sailcloth.mesh.model import Resolution
from sailcloth.view.clusters import ClusterPlan


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets `outlier_detection` and the panic threshold."""
    if plan.resolution is not Resolution.PASSTHROUGH:
        out.common_lb_config.healthy_panic_threshold.value = 0.0
    settings = plan.policy.outlier_detection
    if settings is None:
        return
    detection = out.outlier_detection
    detection.enforcing_success_rate.value = 0
    if settings.consecutive_5xx_errors is not None:
        detection.consecutive_5xx.value = settings.consecutive_5xx_errors
        detection.enforcing_consecutive_5xx.value = 100 if settings.consecutive_5xx_errors > 0 else 0
    gateway = settings.consecutive_gateway_errors
    if gateway is None:
        gateway = settings.consecutive_errors
    if gateway is not None:
        detection.consecutive_gateway_failure.value = gateway
        detection.enforcing_consecutive_gateway_failure.value = 100 if gateway > 0 else 0
    if settings.interval:
        detection.interval.CopyFrom(duration(duration_ms(settings.interval) or 0))
    if settings.base_ejection_time:
        detection.base_ejection_time.CopyFrom(duration(duration_ms(settings.base_ejection_time) or 0))
    if settings.max_ejection_percent:
        detection.max_ejection_percent.value = settings.max_ejection_percent
    else:
        detection.always_eject_one_host.value = True  # 10 % of fewer than ten endpoints would be none
    if settings.split_external_local_origin_errors:
        detection.split_external_local_origin_errors = True
        if settings.consecutive_local_origin_failures:
            detection.consecutive_local_origin_failure.value = settings.consecutive_local_origin_failures
            detection.enforcing_consecutive_local_origin_failure.value = 100
        detection.enforcing_local_origin_success_rate.value = 0
    if settings.min_health_percent:
        out.common_lb_config.healthy_panic_threshold.value = float(settings.min_health_percent)
