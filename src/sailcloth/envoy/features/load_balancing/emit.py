"""Load balancing as Envoy protobuf. Pure."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2,
)
from envoy.extensions.load_balancing_policies.wrr_locality.v3 import wrr_locality_pb2

from sailcloth.api.destination_rule import BackendUtilization, ConsistentHashLB
from sailcloth.api.meta import duration_ms
from sailcloth.envoy.protobuf import duration, pack
from sailcloth.mesh.model import Resolution
from sailcloth.view.clusters import ClusterPlan
from sailcloth.view.routes import RoutePlan

_Cluster = cluster_pb2.Cluster


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets `lb_policy` and its configuration."""
    if plan.preference is not None and (plan.preference.shares or plan.preference.regions):
        out.common_lb_config.locality_weighted_lb_config.SetInParent()
    if plan.resolution in (Resolution.PASSTHROUGH, Resolution.DYNAMIC_DNS):
        out.lb_policy = _Cluster.CLUSTER_PROVIDED
        return
    settings = plan.policy.load_balancer
    if settings is not None and settings.backend_utilization is not None:
        _by_utilization(settings.backend_utilization, out)
        return
    hashed = settings.consistent_hash if settings else None
    if hashed is not None:
        if hashed.maglev is not None:
            out.lb_policy = _Cluster.MAGLEV
            if hashed.maglev.table_size:
                out.maglev_lb_config.table_size.value = hashed.maglev.table_size
        else:
            out.lb_policy = _Cluster.RING_HASH
            size = (
                (hashed.ring_hash.minimum_ring_size if hashed.ring_hash else None) or hashed.minimum_ring_size or 1024
            )
            out.ring_hash_lb_config.minimum_ring_size.value = size
        return
    simple = settings.simple if settings else None
    if simple == "ROUND_ROBIN":
        out.lb_policy = _Cluster.ROUND_ROBIN
    elif simple == "RANDOM":
        out.lb_policy = _Cluster.RANDOM
    else:
        out.lb_policy = _Cluster.LEAST_REQUEST
    warmup = settings.warmup if settings else None
    window = (warmup.duration if warmup else None) or (settings.warmup_duration_secs if settings else None)
    if window and simple != "RANDOM":
        slow = out.round_robin_lb_config if simple == "ROUND_ROBIN" else out.least_request_lb_config
        slow.slow_start_config.slow_start_window.CopyFrom(duration(duration_ms(window) or 0))
        if warmup is not None and warmup.minimum_percent is not None:
            slow.slow_start_config.min_weight_percent.value = warmup.minimum_percent
        if warmup is not None and warmup.aggression is not None:
            slow.slow_start_config.aggression.default_value = warmup.aggression
            slow.slow_start_config.aggression.runtime_key = "slow_start.aggression"


def _by_utilization(settings: BackendUtilization, out: cluster_pb2.Cluster) -> None:
    """Weights by the utilization in responses. Localities keep their own weights where there are some."""
    balancer = client_side_weighted_round_robin_pb2.ClientSideWeightedRoundRobin(
        metric_names_for_computing_utilization=settings.metric_names_for_computing_utilization
    )
    for field, text in (
        (balancer.weight_update_period, settings.weight_update_period),
        (balancer.blackout_period, settings.weight_stabilization_period),
        (balancer.weight_expiration_period, settings.weight_expiration_period),
    ):
        if text is not None:
            field.CopyFrom(duration(duration_ms(text) or 0))
    if settings.error_utilization_penalty_percent is not None:
        balancer.error_utilization_penalty.value = settings.error_utilization_penalty_percent / 100
    policy = cluster_pb2.LoadBalancingPolicy()
    extension = policy.policies.add().typed_extension_config
    extension.name = "envoy.load_balancing_policies.client_side_weighted_round_robin"
    extension.typed_config.CopyFrom(pack(balancer))
    if out.common_lb_config.HasField("locality_weighted_lb_config"):
        out.common_lb_config.ClearField("locality_weighted_lb_config")
        by_locality = wrr_locality_pb2.WrrLocality(endpoint_picking_policy=policy)
        policy = cluster_pb2.LoadBalancingPolicy()
        extension = policy.policies.add().typed_extension_config
        extension.name = "envoy.load_balancing_policies.wrr_locality"
        extension.typed_config.CopyFrom(pack(by_locality))
    out.load_balancing_policy.CopyFrom(policy)


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `route.hash_policy`."""
    if not out.HasField("route"):
        return
    for hashed in dict.fromkeys(t.cluster for t in plan.targets if t.hash is not None):
        target = next(t for t in plan.targets if t.cluster == hashed)
        policy = hash_policy(target.hash) if target.hash else None
        if policy is not None and policy not in out.route.hash_policy:
            out.route.hash_policy.append(policy)


def hash_policy(hashed: ConsistentHashLB) -> route_pb.RouteAction.HashPolicy | None:
    """Envoy's hash policy for a consistent hash; None if it has no key."""
    policy = route_pb.RouteAction.HashPolicy(terminal=True)
    if hashed.http_header_name:
        policy.header.header_name = hashed.http_header_name
    elif hashed.http_cookie is not None:
        policy.cookie.name = hashed.http_cookie.name
        policy.cookie.path = hashed.http_cookie.path or ""
        if hashed.http_cookie.ttl is not None:
            policy.cookie.ttl.CopyFrom(duration(duration_ms(hashed.http_cookie.ttl) or 0))
    elif hashed.use_source_ip:
        policy.connection_properties.source_ip = True
    elif hashed.http_query_parameter_name:
        policy.query_parameter.name = hashed.http_query_parameter_name
    else:
        return None
    return policy
