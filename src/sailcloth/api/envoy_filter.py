"""EnvoyFilter (networking.istio.io): users' patches of the configuration of proxies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from .attachment import PolicyTargetReference
from .meta import Constraint, ConstraintPort, D, Object, Struct
from .sidecar import WorkloadSelector

_ANY = {"x-kubernetes-preserve-unknown-fields": True}


class ProxyMatch(Struct):
    """Matches proxies by version and metadata."""

    proxy_version: Annotated[str | None, D("Regular expression that the proxy's version must match.")] = None
    metadata: Annotated[dict[str, str], D("Node metadata that the proxy must have.")] = {}


class SubFilterMatch(Struct):
    """Matches a filter inside a network filter."""

    name: Annotated[str | None, D("Its name.")] = None


class FilterMatch(Struct):
    """Matches a network filter."""

    name: Annotated[str | None, D("Its name.")] = None
    sub_filter: Annotated[SubFilterMatch | None, D("A filter inside it.")] = None


class FilterChainMatch(Struct):
    """Matches a filter chain."""

    name: Annotated[str | None, D("Its name.")] = None
    sni: Annotated[str | None, D("Its server name (SNI).")] = None
    transport_protocol: Annotated[str | None, D("raw_buffer or tls.")] = None
    application_protocols: Annotated[str | None, D("Its ALPN protocols, separated by commas.")] = None
    filter: Annotated[FilterMatch | None, D("A filter of it.")] = None
    destination_port: Annotated[int | None, D("Its destination port.")] = None
    transport_socket: Annotated[str | None, D("Name of its transport socket.")] = None


class ListenerMatch(Struct):
    """Matches a listener."""

    port_number: Annotated[int | None, D("Its port.")] = None
    port_name: Annotated[str | None, D("Accepted, not used.")] = None
    filter_chain: Annotated[FilterChainMatch | None, D("A filter chain of it.")] = None
    listener_filter: Annotated[str | None, D("A listener filter of it.")] = None
    name: Annotated[str | None, D("Its name.")] = None


class RouteMatch(Struct):
    """Matches a route."""

    name: Annotated[str | None, D("Its name.")] = None
    action: Annotated[Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] | None, D("What it does.")] = None


class VirtualHostMatch(Struct):
    """Matches a virtual host."""

    name: Annotated[str | None, D("Its name.")] = None
    domain_name: Annotated[str | None, D("One of its domains.")] = None
    route: Annotated[RouteMatch | None, D("A route of it.")] = None


class RouteConfigurationMatch(Struct):
    """Matches a route configuration."""

    port_number: Annotated[int | None, D("Its port.")] = None
    port_name: Annotated[str | None, D("Its port's name (gateways).")] = None
    gateway: Annotated[str | None, D("Its Gateway, as namespace/name.")] = None
    vhost: Annotated[VirtualHostMatch | None, D("A virtual host of it.")] = None
    name: Annotated[str | None, D("Its name.")] = None


class ClusterMatch(Struct):
    """Matches a cluster."""

    port_number: Annotated[int | None, D("Its port.")] = None
    service: Annotated[str | None, D("Its service.")] = None
    subset: Annotated[str | None, D("Its subset.")] = None
    name: Annotated[str | None, D("Its name.")] = None


class WaypointMatch(Struct):
    """Matches configuration of a waypoint."""

    port_number: Annotated[int | None, D("Its port."), ConstraintPort] = None
    filter: Annotated[FilterMatch | None, D("A filter.")] = None
    route: Annotated[RouteMatch | None, D("A route.")] = None


class ConfigObjectMatch(Struct):
    """Conditions on the configuration that a patch applies to."""

    context: Annotated[
        Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"] | None, D("Kind of traffic.")
    ] = None
    proxy: Annotated[ProxyMatch | None, D("Proxies.")] = None
    listener: Annotated[ListenerMatch | None, D("Listeners.")] = None
    route_configuration: Annotated[RouteConfigurationMatch | None, D("Route configurations.")] = None
    cluster: Annotated[ClusterMatch | None, D("Clusters.")] = None
    waypoint: Annotated[WaypointMatch | None, D("Matches configuration of waypoints.")] = None


class Patch(Struct):
    """A patch."""

    operation: Annotated[
        Literal["INVALID", "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE",
                "MERGE_AND_REPLACE_LIST"] | None,
        D("How the configuration is patched."),
    ] = None  # fmt: skip
    value: Annotated[dict[str, Any], D("Envoy configuration to merge or add.", extra_json_schema=_ANY)] = {}
    filter_class: Annotated[
        Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"] | None,
        D("Filters that an added HTTP filter follows (AUTHN, AUTHZ) or precedes (STATS)."),
    ] = None


class EnvoyConfigObjectPatch(Struct):
    """A patch, and the configuration that it applies to."""

    apply_to: Annotated[
        Literal["INVALID", "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "ROUTE_CONFIGURATION",
                "VIRTUAL_HOST", "HTTP_ROUTE", "CLUSTER", "EXTENSION_CONFIG", "BOOTSTRAP", "LISTENER_FILTER"] | None,
        D("Kind of configuration that is patched."),
    ] = None  # fmt: skip
    match: Annotated[
        ConfigObjectMatch | None,
        D("Where."),
        Constraint(
            (
                "has(self.context) && self.context == 'WAYPOINT' ? has(self.waypoint) : !has(self.waypoint)",
                "only support waypointMatch when context is WAYPOINT",
            ),
            (
                "(has(self.listener) ? 1 : 0) + (has(self.routeConfiguration) ? 1 : 0) + (has(self.cluster) ? 1 : 0) + (has(self.waypoint) ? 1 : 0) <= 1",
                "at most one of listener, routeConfiguration, cluster or waypoint can be set",
            ),
        ),
    ] = None
    patch: Annotated[Patch | None, D("The change.")] = None


class EnvoyFilterSpec(Struct):
    """Patches of the configuration of proxies."""

    workload_selector: Annotated[WorkloadSelector | None, D("Workloads; default the whole namespace.")] = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], D("Objects it applies to, at most 16."), Constraint(maxItems=16)
    ] = ()
    config_patches: Annotated[tuple[EnvoyConfigObjectPatch, ...], D("The patches, in order.")] = ()
    priority: Annotated[int, D("Order among EnvoyFilters; lower values first.")] = 0


class EnvoyFilter(Object):
    """Patches the configuration of proxies."""

    spec: Annotated[
        EnvoyFilterSpec,
        Constraint(
            (
                "!(has(self.workloadSelector) && has(self.targetRefs))",
                "only one of targetRefs or workloadSelector can be set",
            )
        ),
    ] = EnvoyFilterSpec()
