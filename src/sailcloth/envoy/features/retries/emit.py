"""Retry policies as Envoy protobuf. Pure."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2

from sailcloth.envoy.protobuf import duration, typed
from sailcloth.view.routes import RoutePlan

from .policy import RetryPolicy, effective


def route(plan: RoutePlan, out: route_pb.Route) -> None:
    """Sets `route.retry_policy`."""
    if not out.HasField("route"):
        return
    hashed = any(t.hash is not None for t in plan.targets)
    policy = effective((plan.rule.retries if plan.rule is not None else None) or plan.retries, hashed)
    if policy is not None:
        out.route.retry_policy.CopyFrom(retry_policy(policy))


@lru_cache(maxsize=256)
def retry_policy(policy: RetryPolicy) -> route_pb.RetryPolicy:
    """Envoy's retry policy. The result is cached; callers must copy it."""
    message = route_pb.RetryPolicy(
        retry_on=",".join(policy.on),
        retriable_status_codes=policy.status_codes,
        host_selection_retry_max_attempts=policy.host_reselections,
    )
    message.num_retries.value = policy.attempts
    if policy.per_try_timeout_ms:
        message.per_try_timeout.CopyFrom(duration(policy.per_try_timeout_ms))
    if policy.backoff_ms:
        message.retry_back_off.base_interval.CopyFrom(duration(policy.backoff_ms))
    if policy.avoid_previous_hosts:
        message.retry_host_predicate.add(
            **typed("envoy.retry_host_predicates.previous_hosts", previous_hosts_pb2.PreviousHostsPredicate())
        )
    if policy.remote_localities:
        message.retry_priority.CopyFrom(
            route_pb.RetryPolicy.RetryPriority(
                **typed(
                    "envoy.retry_priorities.previous_priorities",
                    previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=2),
                )
            )
        )
    return message
