"""Rate limits as Envoy protobuf. Pure."""

from __future__ import annotations

import re

from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.ratelimit.v3 import rls_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2 as local_pb
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2 as global_pb
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.filters.network.local_ratelimit.v3 import local_rate_limit_pb2 as connection_pb
from envoy.type.v3 import percent_pb2, token_bucket_pb2

from sailcloth.api.meta import StringMatch, duration_ms
from sailcloth.api.rate_limit import Rate, RateLimitRule
from sailcloth.envoy import names
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import duration, typed
from sailcloth.envoy.resources import matcher

from .policy import Limits

_NO_LIMIT = 2**32 - 1
_DYNAMIC = 10_000  # counters per rule by key value; the least recently used are evicted
_DOMAIN = "sailcloth"
LEAST_PERIOD_MS = 50.0  # Envoy's minimum fill interval
_TIMEOUT_MS = 100.0


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The filters for a workload's request limits; empty without limits."""
    limits = inputs.policies.of(Limits)
    filters = []
    local = [(ident, rule) for ident, rule in limits.http if rule.scope == "LOCAL"]
    if local:
        filters.append(hcm_pb.HttpFilter(**typed("envoy.filters.http.local_ratelimit", _local(local))))
    shared = [(ident, rule) for ident, rule in limits.http if rule.scope == "GLOBAL"]
    if shared:
        filters.append(hcm_pb.HttpFilter(**typed("envoy.filters.http.ratelimit", _global(shared))))
    return filters


def network_filters(inputs: FilterInputs) -> list[components.Filter]:
    """The filters for a workload's connection limit."""
    return [
        components.Filter(
            **typed(
                "envoy.filters.network.local_ratelimit",
                connection_pb.LocalRateLimit(stat_prefix="connections", token_bucket=_bucket(rate), share_key=ident),
            )
        )
        for ident, rate in inputs.policies.of(Limits).connections
    ]


def _local(rules: list[tuple[str, RateLimitRule]]) -> local_pb.LocalRateLimit:
    whole = percent_pb2.FractionalPercent(numerator=100)
    config = local_pb.LocalRateLimit(
        stat_prefix="http_local_rate_limiter",
        token_bucket=token_bucket_pb2.TokenBucket(max_tokens=_NO_LIMIT, fill_interval=duration(1000)),
    )
    config.token_bucket.tokens_per_fill.value = _NO_LIMIT
    config.always_consume_default_token_bucket.value = False
    config.max_dynamic_descriptors.value = _DYNAMIC
    for switch in (config.filter_enabled, config.filter_enforced):
        switch.default_value.CopyFrom(whole)
    for ident, rule in rules:
        entries = [ratelimit_pb2.RateLimitDescriptor.Entry(key="rule", value=ident)]
        entries += [ratelimit_pb2.RateLimitDescriptor.Entry(key=_key(rate_key.header)) for rate_key in rule.by]
        config.descriptors.append(
            ratelimit_pb2.LocalRateLimitDescriptor(entries=entries, token_bucket=_bucket(rule.limit))
        )
        config.rate_limits.append(route_pb.RateLimit(actions=_actions(ident, rule)))
    return config


def _global(rules: list[tuple[str, RateLimitRule]]) -> global_pb.RateLimit:
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=names.XDS_CLUSTER)
    )
    return global_pb.RateLimit(
        domain=_DOMAIN,
        timeout=duration(_TIMEOUT_MS),
        rate_limit_service=rls_pb2.RateLimitServiceConfig(
            grpc_service=service, transport_api_version=config_source_pb2.V3
        ),
        rate_limits=[route_pb.RateLimit(actions=_actions(ident, rule)) for ident, rule in rules],
    )


def _actions(ident: str, rule: RateLimitRule) -> list[route_pb.RateLimit.Action]:
    """The actions that produce a rule's descriptor; they produce none for a request that does not match the rule."""
    action = route_pb.RateLimit.Action
    match = rule.match
    headers = []
    if match is not None:
        headers += [_path(match.path)] if match.path is not None else []
        headers += [matcher.header(":method", match.method)] if match.method is not None else []
        headers += [matcher.header(name, value) for name, value in sorted(match.headers.items())]
    if headers:
        rule_match = action.HeaderValueMatch(descriptor_key="rule", descriptor_value=ident, headers=headers)
        actions = [action(header_value_match=rule_match)]
    else:
        actions = [action(generic_key=action.GenericKey(descriptor_key="rule", descriptor_value=ident))]
    for rate_key in rule.by:
        if rate_key.header:
            key = _key(rate_key.header)
            actions.append(
                action(request_headers=action.RequestHeaders(header_name=rate_key.header, descriptor_key=key))
            )
        elif rate_key.source_address:
            actions.append(action(remote_address=action.RemoteAddress()))
    return actions


def _key(header: str | None) -> str:
    return f"header-{header}" if header else "remote_address"


def _path(value: StringMatch) -> route_pb.HeaderMatcher:
    """A matcher of the path without the query, because Envoy's `:path` includes it."""
    if value.prefix is not None and not (value.exact or value.regex):
        return matcher.header(":path", value)
    text = value.regex if value.regex is not None else re.escape(value.exact or "")
    return matcher.header(":path", StringMatch(regex=f"(?:{text})(?:\\?.*)?"))


def _bucket(rate: Rate) -> token_bucket_pb2.TokenBucket:
    """A token bucket with a fill interval of at least 50 ms."""
    period = max(duration_ms(rate.per) or 1000.0, LEAST_PERIOD_MS)
    bucket = token_bucket_pb2.TokenBucket(max_tokens=rate.burst or rate.requests, fill_interval=duration(period))
    bucket.tokens_per_fill.value = rate.requests
    return bucket
