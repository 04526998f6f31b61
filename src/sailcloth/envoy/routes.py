"""Builds virtual hosts from plans, and joins route configurations from the bytes of their virtual hosts.

A virtual host with hundreds of routes, as a gateway has for the rules of many teams, is joined from the bytes of its routes in the
same way: of one changed rule only its own routes are made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.config.route.v3 import route_pb2

from sailcloth.api.meta import Key
from sailcloth.envoy import names, pipeline
from sailcloth.envoy.features.dynamic_dns import emit as dynamic_dns
from sailcloth.envoy.protobuf import duration, encode
from sailcloth.envoy.resource import EnvoyResource, version_of
from sailcloth.envoy.resources import service_metadata
from sailcloth.view.routes import RoutePlan, VirtualHostPlan

MAX_DIRECT_RESPONSE = 1 << 20


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """One serialised virtual host, with the clusters that it refers to and the objects that it derives from."""

    body: bytes = field(repr=False)
    clusters: frozenset[str]
    sources: tuple[Key, ...]


def virtual_host(plan: VirtualHostPlan) -> VirtualHost:
    """A virtual host from its plan. `routes` is field 3 of VirtualHost, length-delimited."""
    head = route_pb.VirtualHost(name=plan.name, domains=plan.domains)
    tail = route_pb.VirtualHost(include_request_attempt_count=True)
    if plan.require_tls:
        tail.require_tls = route_pb.VirtualHost.ALL
    many = len(plan.routes) > _MANY_ROUTES
    routes = [_kept_route(_Same(r)) if many else _route(r) for r in plan.routes]
    body = b"".join([encode(head), *(r.field for r in routes), encode(tail)])
    return VirtualHost(body, frozenset[str]().union(*(r.clusters for r in routes)), plan.sources)


@dataclass(frozen=True, slots=True)
class _Route:
    """One serialised route, as a field of a virtual host."""

    field: bytes
    clusters: frozenset[str]


def _route(plan: RoutePlan) -> _Route:
    body = encode(route(plan))
    clusters = [t.cluster for t in plan.targets] + [c for c, _ in plan.mirrors]
    return _Route(b"\x1a" + _varint(len(body)) + body, frozenset(map(names.outbound, clusters)))


_MANY_ROUTES = 32


class _Same:
    """A plan with the same objects for its rule and match, because those have maps and no hash. A rule that stays equal stays the same object:
    the graph keeps it, and so do the routes of the Gateway API that are joined into one VirtualService."""

    __slots__ = ("plan",)

    def __init__(self, plan: RoutePlan) -> None:
        self.plan = plan

    def __hash__(self) -> int:
        return hash((id(self.plan.rule), id(self.plan.match), self.plan.port))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        one, two = self.plan, other.plan
        return one is two or (one.rule is two.rule and one.match is two.match and one == two)


@lru_cache(maxsize=8192)
def _kept_route(same: _Same) -> _Route:
    return _route(same.plan)


def route(plan: RoutePlan) -> route_pb.Route:
    """One route, with all features applied in order."""
    message = route_pb.Route(name=_name(plan))
    for feature in pipeline.ROUTE:
        feature(plan, message)
    if plan.targets:
        first = plan.targets[0].cluster
        message.decorator.operation = f"{first.host}:{first.port}/*"
    if plan.source is not None:
        istio = message.metadata.filter_metadata["istio"]
        path = names.config_path(plan.source.kind, plan.source.namespace, plan.source.name)
        istio.fields["config"].string_value = path
    if plan.match is not None and plan.match.stat_prefix:
        message.stat_prefix = plan.match.stat_prefix
    return message


def _name(plan: RoutePlan) -> str:
    if plan.rule is None:
        return "default"
    parts = [plan.rule.name or "", (plan.match.name or "") if plan.match else ""]
    return ".".join(p for p in parts if p)


def catch_all(mode: str, cluster: str) -> VirtualHost:
    """The last virtual host of a sidecar's route configuration, for unknown hosts. By the outbound traffic policy it passes
    requests to `cluster`, resolves their host by DNS, or answers 502."""
    if cluster == names.BLACK_HOLE:
        message = route_pb.VirtualHost(name="block_all", domains=["*"], include_request_attempt_count=True)
        refused = message.routes.add(name="block_all")
        refused.match.prefix = "/"
        refused.direct_response.status = 502
        service_metadata.add(refused.metadata, name=names.BLACK_HOLE)
        return VirtualHost(encode(message), frozenset(), ())
    message = route_pb.VirtualHost(name="allow_any", domains=["*"], include_request_attempt_count=True)
    passed = message.routes.add(name="allow_any")
    passed.match.prefix = "/"
    passed.route.cluster = cluster
    if mode == "ALLOW_ANY_DYNAMIC_DNS":
        passed.route.cluster = names.DYNAMIC_DNS
        dynamic_dns.turn_on(passed)
    passed.route.timeout.CopyFrom(duration(0))
    passed.route.max_stream_duration.SetInParent()
    return VirtualHost(encode(message), frozenset(), ())


def black_hole(port: int) -> VirtualHost:
    """The only virtual host of a gateway port without routes; it answers every request with 404."""
    return VirtualHost(encode(route_pb.VirtualHost(name=f"blackhole:{port}", domains=["*"])), frozenset(), ())


def misdirected(hosts: tuple[str, ...]) -> VirtualHost:
    """A virtual host for hosts of another server on the same port. Answers 421, so that the client connects to that server."""
    message = route_pb.VirtualHost(name="misdirected", domains=hosts)
    refused = message.routes.add(name="misdirected")
    refused.match.prefix = "/"
    refused.direct_response.status = 421
    return VirtualHost(encode(message), frozenset(), ())


@dataclass(frozen=True, slots=True)
class Group:
    """Some virtual hosts of a route configuration, serialised as its fields. An unchanged group is not joined or hashed again."""

    version: str
    body: bytes = field(repr=False, compare=False)
    clusters: frozenset[str] = field(compare=False)
    sources: tuple[Key, ...] = ()


def group(hosts: Iterable[VirtualHost]) -> Group:
    """Virtual hosts in order. `virtual_hosts` is field 2 of RouteConfiguration, length-delimited."""
    parts: list[bytes] = []
    clusters: set[str] = set()
    sources: list[Key] = []
    for host in hosts:
        parts += (b"\x12", _varint(len(host.body)), host.body)
        clusters |= host.clusters
        sources += host.sources
    body = b"".join(parts)
    return Group(version_of(body), body, frozenset(clusters), tuple(sources))


def configuration(name: str, groups: list[Group], ports_count: bool = False) -> EnvoyResource:
    """A route configuration. `ports_count`: match the port in the Host header, too. Joins bytes: a thousand virtual hosts cost
    a copy, not a thousand messages."""
    head = route_pb2.RouteConfiguration(name=name, ignore_port_in_host_matching=not ports_count)
    head.max_direct_response_body_size_bytes.value = MAX_DIRECT_RESPONSE
    first = encode(head)
    version = version_of(first + b"".join(g.version.encode() for g in groups))
    body = b"".join([first, *(g.body for g in groups)])
    sources = dict.fromkeys(s for g in groups for s in g.sources)
    return EnvoyResource(name, version, body, frozenset[str]().union(*(g.clusters for g in groups)), tuple(sources))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
