"""The order in which features modify Envoy's messages. Adding a feature takes a folder and a line here.

Must not implement anything; the features do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from sailcloth.api.authorization_policy import AuthorizationPolicy
from sailcloth.api.envoy_filter import EnvoyFilter
from sailcloth.api.meta import Key, Object
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.api.rate_limit import RateLimit
from sailcloth.api.request_authentication import RequestAuthentication
from sailcloth.api.telemetry import Telemetry
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh.verdict import Verdict
from sailcloth.view.policies import Policies

from .features.authorization import emit as authorization
from .features.authorization import external as external_authorization
from .features.authorization import policy as authorization_policy
from .features.authorization import verdict as authorization_verdict
from .features.client_tls import emit as client_tls
from .features.connection_pools import emit as connection_pools
from .features.cors import emit as cors
from .features.destinations import emit as destinations
from .features.dynamic_dns import emit as dynamic_dns
from .features.envoy_filters import emit as envoy_filters
from .features.envoy_filters import policy as envoy_filters_policy
from .features.envoy_filters import verdict as envoy_filters_verdict
from .features.faults import emit as faults
from .features.headers import emit as headers
from .features.load_balancing import emit as load_balancing
from .features.matching import emit as matching
from .features.mirroring import emit as mirroring
from .features.on_demand import emit as on_demand
from .features.outlier_detection import emit as outlier_detection
from .features.peer_authentication import policy as peer_authentication
from .features.peer_authentication import verdict as peer_authentication_verdict
from .features.protocols import emit as protocols
from .features.rate_limits import emit as rate_limits
from .features.rate_limits import policy as rate_limits_policy
from .features.rate_limits import verdict as rate_limits_verdict
from .features.redirects import emit as redirects
from .features.request_authentication import emit as request_authentication
from .features.request_authentication import policy as request_authentication_policy
from .features.request_authentication import verdict as request_authentication_verdict
from .features.retries import emit as retries
from .features.rewrites import emit as rewrites
from .features.sessions import emit as sessions
from .features.telemetry import emit as telemetry
from .features.telemetry import policy as telemetry_policy
from .features.telemetry import tracing as tracing_emit
from .features.telemetry import verdict as telemetry_verdict
from .features.timeouts import emit as timeouts
from .inputs import FilterInputs, PolicyValue, ResolvedPolicies

ROUTE = (
    matching.route,
    destinations.route,  # sets the route action that the following modify
    redirects.route,
    timeouts.route,
    retries.route,
    mirroring.route,
    headers.route,
    rewrites.route,  # after headers: an explicit authority wins
    load_balancing.route,
    faults.route,
    cors.route,
    dynamic_dns.route,
    sessions.route,
)

CLUSTER = (
    connection_pools.cluster,
    load_balancing.cluster,
    outlier_detection.cluster,
    protocols.cluster,
    client_tls.cluster,
    client_tls.proxy_protocol,  # wraps the transport socket
    dynamic_dns.cluster,
    on_demand.cluster,
)

HTTP_FILTERS = (
    external_authorization.http_filters,  # before everything that acts on a request; tokens may be for the authorizer
    request_authentication.http_filters,  # before policies, which match on what tokens say
    authorization.http_filters,
    faults.http_filters,  # before rate limits: aborted requests do not count
    cors.http_filters,
    dynamic_dns.http_filters,
    rate_limits.http_filters,
    telemetry.http_filters,
    sessions.http_filters,
    on_demand.http_filters,  # after filters that may reject a request: rejected requests load no cluster
    destinations.http_filters,  # the router ends the chain
)

NETWORK_FILTERS = (
    external_authorization.network_filters,
    authorization.network_filters,
    rate_limits.network_filters,  # before any byte is read; the terminal filter follows
)

# Finished resources. EnvoyFilters are applied last.
CLUSTER_RESOURCE = (envoy_filters.cluster,)
LISTENER = (envoy_filters.listener,)
ROUTE_CONFIGURATION = (envoy_filters.routes,)
ADDED = (envoy_filters.added,)


@dataclass(frozen=True)
class PolicyFeature:
    """A policy kind: how to resolve its objects for a workload, and the verdict on one of them."""

    kind: type[Object]
    resolve: Callable[[Graph, Policies], PolicyValue]
    verdict: Callable[[Graph, Key], Verdict]


POLICIES = (
    PolicyFeature(PeerAuthentication, peer_authentication.resolve, peer_authentication_verdict.verdict),
    PolicyFeature(RequestAuthentication, request_authentication_policy.resolve, request_authentication_verdict.verdict),
    PolicyFeature(AuthorizationPolicy, authorization_policy.resolve, authorization_verdict.verdict),
    PolicyFeature(RateLimit, rate_limits_policy.resolve, rate_limits_verdict.verdict),
    PolicyFeature(Telemetry, telemetry_policy.resolve, telemetry_verdict.verdict),
    PolicyFeature(EnvoyFilter, envoy_filters_policy.resolve, envoy_filters_verdict.verdict),
)


@derived
def resolve(graph: Graph, policies: Policies) -> ResolvedPolicies:
    """The effective values of all policies of a workload."""
    return ResolvedPolicies(tuple(feature.resolve(graph, policies) for feature in POLICIES))


def http_filters(inputs: FilterInputs) -> list[HttpFilter]:
    """The HTTP filters of a filter chain, in order."""
    return [http_filter for hook in HTTP_FILTERS for http_filter in hook(inputs)]


def access_logs(inputs: FilterInputs) -> telemetry.AccessLogs:
    """The access loggers of a filter chain."""
    return telemetry.access_logs(inputs)


def tracing(inputs: FilterInputs) -> tracing_emit.Settings:
    """The tracing of a filter chain's connection manager."""
    return tracing_emit.settings(inputs)


def network_filters(inputs: FilterInputs) -> list[Filter]:
    """The network filters of a filter chain, in order, without the terminal one."""
    return [network_filter for hook in NETWORK_FILTERS for network_filter in hook(inputs)]
