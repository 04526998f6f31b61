"""Converts the rules of HTTPRoutes to routes of VirtualServices, whatever the HTTPRoute is attached to. Pure.

Knows the services and grants that backends need. Must not know parents, or other routes. Source: the Gateway API's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple, Protocol

import msgspec

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import (
    GROUP,
    BackendReference,
    HTTPBackendReference,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRule,
    ReferenceGrant,
)
from sailcloth.api.meta import Key, PortSelector
from sailcloth.api.validation import http as header_rules
from sailcloth.api.validation import regexes

from . import http_route_filters
from .extended_routes import WHOLE, ExtendedRoute

_RETRY_ON = "connect-failure,refused-stream,reset-before-request"  # what reached no application
_DEFAULT_ATTEMPTS = 2
UNRESOLVED = "unresolved.invalid"
"""The host of datagrams for backends that cannot be resolved. No service has it: its top-level domain is reserved (RFC 2606)."""
Backend = BackendReference | HTTPBackendReference
Order = tuple[object, ...]
"""The precedence of a route in the API: sorts the more specific and older ones first."""


class Service(NamedTuple):
    """Namespace and name of a Service, or of another kind that routes may be attached to."""

    namespace: str
    name: str
    kind: str = "Service"


class ServicePorts(Protocol):
    """Gives the ports of a Service or ServiceEntry by name, those of UDP or all others; None if there is none."""

    def __call__(self, service: Service, udp: bool = False) -> Mapping[str, int] | None: ...


class HttpRules:
    """`grants`: kept current by its owner."""

    def __init__(
        self,
        ports: ServicePorts,
        grants: Mapping[Key, ReferenceGrant],
        domain: Callable[[], str],
    ) -> None:
        self._ports, self._grants, self._domain = ports, grants, domain

    def routes(self, key: Key, route: HTTPRoute, ports: Iterable[int] = (0,)) -> Iterable[tuple[Order, vs.HTTPRoute]]:
        """(precedence, route) of each match of each rule, for each port that the HTTPRoute is attached to; 0 is every port."""
        created, own = route.metadata.creation_timestamp or "", parent_services(key, route)
        for port in ports:
            for index, rule in enumerate(route.spec.rules):
                parts = [(part, self._part(part, share, key, index, own)) for part, share in _parts(rule)]
                for match in rule.matches or [HTTPRouteMatch()]:
                    if any(wrong_expressions(match)):
                        continue
                    order = (*http_route_filters.precedence(match), created, key.namespace, key.name, index)
                    for number, (part, converted) in enumerate(parts):
                        yield (*order, number), http_route_filters.with_match(converted, part, match, port)

    def verdict(self, route: HTTPRoute, key: Key) -> tuple[str, tuple[bool, str, str]]:
        """(what of a route is not supported, its condition ResolvedRefs as whether, reason and message)."""
        own = parent_services(key, route)
        problems = [p for rule in route.spec.rules for p in self.problems(rule, key, own)]
        unsupported = next((t for reason, t in problems if reason == "UnsupportedValue"), "")
        wrong = sorted((p for p in problems if p[0] != "UnsupportedValue"), key=lambda p: p[0] != "RefNotPermitted")
        unresolved = next(((False, reason, text) for reason, text in wrong), (True, "ResolvedRefs", ""))
        return unsupported, unresolved

    def _part(self, rule: HTTPRouteRule, share: float, key: Key, index: int, own: frozenset[Service]) -> vs.HTTPRoute:
        """A rule, or the requests of one of its backends: `share` is the percentage that this and the parts before it take."""
        converted = self.rule(rule, key, index, own)
        session = http_route_filters.session(rule.session_persistence, key, index) if converted.route else None
        if share == WHOLE and session is None:
            return converted
        return ExtendedRoute(**msgspec.structs.asdict(converted), share=share, session=session)

    def rule(self, rule: HTTPRouteRule, key: Key, index: int, own: frozenset[Service] = frozenset()) -> vs.HTTPRoute:
        """A rule without its matches; `own`: of `parent_services`. Answers 500 to the share of requests whose backend cannot be resolved."""
        name = rule.name or f"{key.namespace}.{key.name}.{index}"
        problems = self.problems(rule, key, own)
        redirect = next((f.request_redirect for f in rule.filters if f.request_redirect is not None), None)
        if any(reason == "UnsupportedValue" for reason, _ in problems):
            return vs.HTTPRoute(name=name, direct_response=vs.HTTPDirectResponse(status=500))
        headers = http_route_filters.headers(rule.filters)
        if redirect is not None:
            http_redirect = vs.HTTPRedirect(
                scheme=redirect.scheme,
                authority=redirect.hostname,
                port=redirect.port,
                derive_port=http_route_filters.derived_port(redirect),
                uri=http_route_filters.redirect_path(redirect.path),
                redirect_code=redirect.status_code,
            )
            return vs.HTTPRoute(name=name, redirect=http_redirect, headers=headers)
        weighed = [(b, self._backend_problem(b, key, own)) for b in rule.backend_refs if b.weight > 0]
        whole, unresolved = sum(b.weight for b, _ in weighed), sum(b.weight for b, p in weighed if p)
        if whole == unresolved:
            return vs.HTTPRoute(name=name, direct_response=vs.HTTPDirectResponse(status=500), headers=headers)
        fault = None
        if unresolved:
            share = vs.Percent(value=100.0 * unresolved / whole)
            fault = vs.HTTPFaultInjection(abort=vs.Abort(http_status=500, percentage=share))
        timeouts = rule.timeouts
        per_try = timeouts.backend_request if timeouts else None
        retries = None
        if rule.retry is not None:
            retry_on = ",".join([_RETRY_ON, *map(str, rule.retry.codes)])
            attempts = _DEFAULT_ATTEMPTS if rule.retry.attempts is None else rule.retry.attempts
            retries = vs.HTTPRetry(
                attempts=attempts,
                retry_on=retry_on,
                backoff=rule.retry.backoff,
                per_try_timeout=http_route_filters.timeout(per_try),
            )
        return vs.HTTPRoute(
            name=name,
            route=tuple(self._destination(b, key.namespace, len(weighed) > 1) for b, problem in weighed if not problem),
            fault=fault,
            timeout=http_route_filters.timeout(timeouts.request if timeouts else None)
            or (None if retries else http_route_filters.timeout(per_try)),
            retries=retries,
            mirrors=tuple(m for f in rule.filters for m in self._mirror(f, key, own)),
            cors_policy=next((http_route_filters.cors_policy(f) for f in rule.filters if f.cors is not None), None),
            headers=headers,
        )

    def _destination(self, backend: HTTPBackendReference, namespace: str, weighed: bool) -> vs.HTTPRouteDestination:
        destination = vs.Destination(host=self._host(backend, namespace), port=PortSelector(number=backend.port))
        return vs.HTTPRouteDestination(
            destination=destination,
            weight=backend.weight if weighed else 0,
            headers=http_route_filters.headers(backend.filters),
        )

    def _mirror(self, step: HTTPRouteFilter, key: Key, own: frozenset[Service]) -> Iterable[vs.HTTPMirrorPolicy]:
        mirror = step.request_mirror
        if mirror is None or self._backend_problem(mirror.backend_ref, key, own):
            return
        share = 100.0 if mirror.percent is None else float(mirror.percent)
        if mirror.fraction is not None:
            share = 100.0 * mirror.fraction.numerator / max(1, mirror.fraction.denominator)
        port = PortSelector(number=mirror.backend_ref.port)
        destination = vs.Destination(host=self._host(mirror.backend_ref, key.namespace), port=port)
        yield vs.HTTPMirrorPolicy(destination=destination, percentage=vs.Percent(value=share))

    def _host(self, backend: Backend, namespace: str) -> str:
        if backend.kind == "Hostname":
            return backend.name
        return f"{backend.name}.{backend.namespace or namespace}.svc.{self._domain()}"

    # -- problems -------------------------------------------------------------------------------------

    def problems(self, rule: HTTPRouteRule, key: Key, own: frozenset[Service]) -> list[tuple[str, str]]:
        """(reason, message) of every problem with a rule."""
        problems = [p for b in backends_of(rule) if (p := self._backend_problem(b, key, own))]
        for step in (*rule.filters, *(f for b in rule.backend_refs for f in b.filters)):
            if step.type == "ExtensionRef":
                problems.append(("UnsupportedValue", "filters of type ExtensionRef are not supported"))
            if any(map(header_rules.breaks_line, _written(step))):
                problems.append(("UnsupportedValue", "a header value, host name or path contains a line break or NUL"))
        if text := http_route_filters.session_problem(rule.session_persistence):
            problems.append(("UnsupportedValue", text))
        problems += [("UnsupportedValue", text) for match in rule.matches for text in wrong_expressions(match)]
        return problems

    def _backend_problem(
        self, backend: Backend, key: Key, own: frozenset[Service] = frozenset()
    ) -> tuple[str, str] | None:
        if (backend.group, backend.kind) == ("networking.istio.io", "Hostname"):
            return None
        if (backend.group or "core", backend.kind) != ("core", "Service"):
            return "InvalidKind", f"{backend.group}/{backend.kind} cannot receive traffic; use a Service"
        target = Service(backend.namespace or key.namespace, backend.name)
        foreign = target.namespace != key.namespace and target not in own
        if foreign and not self.granted(target, key.namespace, key.kind):
            return (
                "RefNotPermitted",
                f"no ReferenceGrant in {target.namespace} allows {key.kind}s in {key.namespace} to refer to {target.name}",
            )
        udp = key.kind == "UDPRoute"
        ports = self._ports(target, udp)
        if ports is None:
            return "BackendNotFound", f"service {target.namespace}/{target.name} does not exist"
        if backend.port is None:
            return "UnsupportedValue", f"the reference to service {target.namespace}/{target.name} has no port"
        if backend.port not in ports.values():
            named = f"{'UDP ' if udp else ''}port {backend.port}"
            return "BackendNotFound", f"service {target.namespace}/{target.name} has no {named}"
        return None

    def connections(self, key: Key, route: HTTPRoute) -> tuple[vs.RouteDestination, ...]:
        """The destinations of connections by the first rule of a TCPRoute or TLSRoute; those that cannot be resolved get none."""
        backends = self._weighed(key, route)
        return self._destinations(key, [b for b, usable in backends if usable])

    def datagrams(self, key: Key, route: HTTPRoute) -> tuple[vs.RouteDestination, ...]:
        """The destinations of datagrams by the first rule of a UDPRoute. The share of those that cannot be resolved is `UNRESOLVED`'s; empty if
        there are no others."""
        backends = self._weighed(key, route)
        if not any(usable for _, usable in backends):
            return ()
        unresolved = HTTPBackendReference(group="networking.istio.io", kind="Hostname", name=UNRESOLVED)
        lost = sum(b.weight for b, usable in backends if not usable)
        shares = [msgspec.structs.replace(unresolved, weight=lost)] if lost else []
        return self._destinations(key, [*(b for b, usable in backends if usable), *shares])

    def _weighed(self, key: Key, route: HTTPRoute) -> list[tuple[HTTPBackendReference, bool]]:
        """The backends of a route's first rule with a weight, and whether each can be resolved."""
        backends = (b for rule in route.spec.rules[:1] for b in rule.backend_refs if b.weight > 0)
        return [(b, not self._backend_problem(b, key)) for b in backends]

    def _destinations(self, key: Key, backends: list[HTTPBackendReference]) -> tuple[vs.RouteDestination, ...]:
        return tuple(
            vs.RouteDestination(
                destination=vs.Destination(host=self._host(b, key.namespace), port=PortSelector(number=b.port)),
                weight=b.weight if len(backends) > 1 else 0,
            )
            for b in backends
        )

    def granted(self, target: Service, namespace: str, source: str, kind: str = "Service") -> bool:
        """Whether a ReferenceGrant lets objects of kind `source` in a namespace refer to a target of a kind."""
        return any(
            key.namespace == target.namespace
            and any((f.group, f.kind, f.namespace) == (GROUP, source, namespace) for f in grant.spec.from_)
            and any(
                t.group in ("", "core") and t.kind == kind and t.name in (None, "", target.name) for t in grant.spec.to
            )
            for key, grant in self._grants.items()
        )


def _parts(rule: HTTPRouteRule) -> list[tuple[HTTPRouteRule, float]]:
    """A rule as rules of single backends, if some have rewrites or redirects of their own, each with the percentage of the requests that it and
    those before it take."""
    backends = [b for b in rule.backend_refs if b.weight > 0]
    if not any(http_route_filters.is_of_backend(f) for b in backends for f in b.filters):
        return [(rule, WHOLE)]
    sums = accumulate(b.weight for b in backends)
    whole = sum(b.weight for b in backends)
    return [(http_route_filters.for_backend(rule, b), WHOLE * s / whole) for b, s in zip(backends, sums, strict=True)]


def parent_services(key: Key, route: HTTPRoute) -> frozenset[Service]:
    """The services that a route is for. Its clients call them anyway, so it needs no grant to send requests there, whatever their namespace:
    a consumer's route. None if the route is at a Gateway, too, for that would let in others than these clients."""
    parents = route.spec.parent_refs
    if any(p.kind != "Service" for p in parents):
        return frozenset()
    return frozenset(Service(p.namespace or key.namespace, p.name) for p in parents)


def wrong_expressions(match: HTTPRouteMatch) -> Iterable[str]:
    """Errors in the regular expressions of a match. Envoy would reject all routes of the port because of one of them."""
    expressions = [(m.type, m.value) for m in (*match.headers, *match.query_params)]
    for kind, value in ((match.path.type, match.path.value), *expressions):
        if kind == "RegularExpression" and (problem := regexes.problem(value)):
            yield problem


def _written(step: HTTPRouteFilter) -> Iterable[str]:
    """Texts that a filter writes into headers or request lines."""
    for headers in (step.request_header_modifier, step.response_header_modifier):
        if headers is not None:
            yield from (h.value for h in (*headers.set, *headers.add))
    for change in (step.request_redirect, step.url_rewrite):
        if change is not None and change.path is not None:
            yield from (change.path.replace_full_path or "", change.path.replace_prefix_match or "")


def destinations(key: Key, route: HTTPRoute) -> Iterable[Service]:
    for rule in route.spec.rules:
        for backend in backends_of(rule):
            if backend.kind == "Service":
                yield Service(backend.namespace or key.namespace, backend.name)


def backends_of(rule: HTTPRouteRule) -> Iterable[Backend]:
    yield from rule.backend_refs
    yield from (f.request_mirror.backend_ref for f in rule.filters if f.request_mirror is not None)
