"""Converts HTTPRoutes of the Gateway API that are attached to services (GAMMA) to VirtualServices. Pure.

A route in the service's own namespace (producer route) applies to all clients; a route in another namespace (consumer route) only
to clients in that namespace, and replaces producer routes for them. The routes of one namespace for one service become one list
in the API's order of precedence. Later layers must not know HTTPRoutes. Routes attached to gateways are not supported yet and
get no status. Source: istio.md 1.12, and the API's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway_api import (
    GROUP,
    BackendReference,
    HTTPBackendReference,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRule,
    ParentReference,
    ReferenceGrant,
)
from sailcloth.api.meta import Key, Object, ObjectMeta, PortSelector
from sailcloth.api.validation import http as header_rules
from sailcloth.api.validation import regexes

from . import http_route_filters

SEMANTICS = "internal.istio.io/route-semantics"
PARENTS = "internal.istio.io/parents"
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"  # what reached no application
_DEFAULT_ATTEMPTS = 2
Backend = BackendReference | HTTPBackendReference


class Service(NamedTuple):
    """Namespace and name of a service."""

    namespace: str
    name: str


class Group(NamedTuple):
    """The routes of one namespace for one service: one VirtualService."""

    service: Service
    namespace: str

    @property
    def key(self) -> Key:
        return Key("VirtualService", self.namespace, f"{self.service.name}~{self.service.namespace}~httproute")


@dataclass(frozen=True)
class ParentStatus:
    """The status of a route for one parent service."""

    parent: ParentReference
    accepted: tuple[bool, str, str]  # whether, reason, message
    resolved: tuple[bool, str, str]


class HttpRoutes:
    """Keeps the VirtualServices in step with HTTPRoutes, grants and services. `put` sets or (None) removes an object of the mesh
    and says whether that changed anything; `ports` gives a service's ports by name, None if there is no such service."""

    def __init__(
        self,
        put: Callable[[Key, Object | None], bool],
        ports: Callable[[Service], Mapping[str, int] | None],
        domain: Callable[[], str],
    ) -> None:
        self._apply, self._ports, self._domain = put, ports, domain
        self._routes: dict[Key, HTTPRoute] = {}
        self._grants: dict[Key, ReferenceGrant] = {}
        self._members: dict[Group, set[Key]] = {}
        self._groups_of_service: dict[Service, set[Group]] = {}  # groups with a service as parent or destination
        self._services_of_group: dict[Group, set[Service]] = {}
        self.reevaluated: set[Key] = set()  # routes whose status may have changed; the reader clears it

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Apply an HTTPRoute or ReferenceGrant, or (None) its deletion. Returns whether the mesh changed."""
        if key.kind == "ReferenceGrant":
            if isinstance(obj, ReferenceGrant):
                self._grants[key] = obj
            else:
                self._grants.pop(key, None)
            return self._update_groups(self._members)
        old = self._routes.pop(key, None)
        if isinstance(obj, HTTPRoute):
            self._routes[key] = obj
        old_groups, new_groups = (
            set(_groups(key, o)) if o is not None else set() for o in (old, self._routes.get(key))
        )
        for group in old_groups - new_groups:
            self._members[group].discard(key)
        for group in new_groups:
            self._members.setdefault(group, set()).add(key)
        self.reevaluated.add(key)
        return self._update_groups(old_groups | new_groups)

    def service_changed(self, namespace: str, name: str) -> bool:
        """Update the routes that refer to a service that was added or deleted. Returns whether the mesh changed."""
        return self._update_groups(self._groups_of_service.get(Service(namespace, name), ()))

    def status(self, key: Key) -> list[ParentStatus]:
        """The status of a route for each service that it is attached to."""
        route = self._routes.get(key)
        if route is None:
            return []
        problems = [p for rule in route.spec.rules for p in self._problems(rule, key.namespace)]
        unsupported = next((t for reason, t in problems if reason == "UnsupportedValue"), "")
        unresolved = next(((False, r, t) for r, t in problems if r != "UnsupportedValue"), (True, "ResolvedRefs", ""))
        statuses = []
        for parent in route.spec.parent_refs:
            if not _is_service(parent):
                continue
            accepted = (True, "Accepted", "")
            problem = self._parent_problem(parent, key.namespace)
            if problem:
                accepted = (False, "NoMatchingParent", problem)
            elif unsupported:
                accepted = (False, "UnsupportedValue", unsupported)
            statuses.append(ParentStatus(parent, accepted, unresolved))
        return statuses

    def _parent_problem(self, parent: ParentReference, namespace: str) -> str:
        """Why a route is attached to nothing by a reference to a service; empty if it is."""
        target = _service(parent, namespace)
        ports = self._ports(target)
        if ports is None:
            return f"service {target.namespace}/{target.name} does not exist"
        if parent.port is not None and parent.port not in ports.values():
            return f"service {target.namespace}/{target.name} has no port {parent.port}"
        if parent.section_name and parent.section_name not in ports:
            return f"service {target.namespace}/{target.name} has no port named {parent.section_name}"
        if parent.section_name and parent.port is not None and ports[parent.section_name] != parent.port:
            return f"port {parent.section_name} of service {target.namespace}/{target.name} is not {parent.port}"
        return ""

    def _attached_ports(self, route: HTTPRoute, group: Group) -> list[int]:
        """The ports of a service that a route is attached to; 0 stands for all of them."""
        ports = self._ports(group.service) or {}
        return sorted(
            {
                parent.port or (ports[parent.section_name] if parent.section_name else 0)
                for parent in route.spec.parent_refs
                if _group(parent, group.namespace) == group and not self._parent_problem(parent, group.namespace)
            }
        )

    # -- one VirtualService -------------------------------------------------------------------------

    def _update_groups(self, groups: Iterable[Group]) -> bool:
        changed = [self._update_group(g) for g in sorted(groups)]
        return any(changed)

    def _update_group(self, group: Group) -> bool:
        routes = sorted((k, self._routes[k]) for k in self._members.get(group, ()))
        self.reevaluated.update(k for k, _ in routes)
        for service in self._services_of_group.pop(group, ()):
            self._groups_of_service[service].discard(group)
        if not routes:
            self._members.pop(group, None)
            return self._apply(group.key, None)
        named = {group.service, *(s for k, r in routes for s in _destinations(k, r))}
        self._services_of_group[group] = named
        for service in named:
            self._groups_of_service.setdefault(service, set()).add(group)
        if self._ports(group.service) is None:
            return self._apply(group.key, None)
        return self._apply(group.key, self._virtual_service(group, routes))

    def _virtual_service(self, group: Group, routes: list[tuple[Key, HTTPRoute]]) -> vs.VirtualService:
        http = []
        for key, route in routes:
            created = route.metadata.creation_timestamp or ""
            for port in self._attached_ports(route, group):
                for index, rule in enumerate(route.spec.rules):
                    converted = self._rule(rule, key, index)
                    for match in rule.matches or [HTTPRouteMatch()]:
                        if any(_wrong_expressions(match)):
                            continue
                        order = (*http_route_filters.precedence(match), created, key.namespace, key.name, index)
                        http.append((order, http_route_filters.with_match(converted, rule, match, port)))
        parents = ",".join(f"HTTPRoute/{k.name}.{k.namespace}" for k, _ in routes)
        metadata = ObjectMeta(
            name=group.key.name,
            namespace=group.namespace,
            creation_timestamp=min(r.metadata.creation_timestamp or "" for _, r in routes),
            annotations={SEMANTICS: "gateway", PARENTS: parents},
        )
        spec = vs.VirtualServiceSpec(
            hosts=(f"{group.service.name}.{group.service.namespace}.svc.{self._domain()}",),
            http=tuple(h for _, h in sorted(http, key=lambda item: item[0])),
            export_to=("*" if group.namespace == group.service.namespace else group.namespace,),
        )
        return vs.VirtualService(metadata=metadata, spec=spec)

    def _rule(self, rule: HTTPRouteRule, key: Key, index: int) -> vs.HTTPRoute:
        """A rule without its matches. Answers 500 to the share of requests whose backend cannot be resolved."""
        name = rule.name or f"{key.namespace}.{key.name}.{index}"
        problems = self._problems(rule, key.namespace)
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
        weighed = [(b, self._backend_problem(b, key.namespace)) for b in rule.backend_refs if b.weight > 0]
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
            mirrors=tuple(m for f in rule.filters for m in self._mirror(f, key.namespace)),
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

    def _mirror(self, step: HTTPRouteFilter, namespace: str) -> Iterable[vs.HTTPMirrorPolicy]:
        mirror = step.request_mirror
        if mirror is None or self._backend_problem(mirror.backend_ref, namespace):
            return
        share = 100.0 if mirror.percent is None else float(mirror.percent)
        if mirror.fraction is not None:
            share = 100.0 * mirror.fraction.numerator / max(1, mirror.fraction.denominator)
        port = PortSelector(number=mirror.backend_ref.port)
        destination = vs.Destination(host=self._host(mirror.backend_ref, namespace), port=port)
        yield vs.HTTPMirrorPolicy(destination=destination, percentage=vs.Percent(value=share))

    def _host(self, backend: Backend, namespace: str) -> str:
        if backend.kind == "Hostname":
            return backend.name
        return f"{backend.name}.{backend.namespace or namespace}.svc.{self._domain()}"

    # -- problems -------------------------------------------------------------------------------------

    def _problems(self, rule: HTTPRouteRule, namespace: str) -> list[tuple[str, str]]:
        """(reason, message) of every problem with a rule."""
        problems = [p for b in _backends(rule) if (p := self._backend_problem(b, namespace))]
        for step in (*rule.filters, *(f for b in rule.backend_refs for f in b.filters)):
            if step.type == "ExtensionRef":
                problems.append(("UnsupportedValue", "filters of type ExtensionRef are not supported"))
            if any(map(header_rules.breaks_line, _written(step))):
                problems.append(("UnsupportedValue", "a header value, host name or path contains a line break or NUL"))
        problems += [("UnsupportedValue", text) for match in rule.matches for text in _wrong_expressions(match)]
        return problems

    def _backend_problem(self, backend: Backend, namespace: str) -> tuple[str, str] | None:
        if (backend.group, backend.kind) == ("networking.istio.io", "Hostname"):
            return None
        if (backend.group or "core", backend.kind) != ("core", "Service"):
            return "InvalidKind", f"{backend.group}/{backend.kind} cannot receive traffic; use a Service"
        target = Service(backend.namespace or namespace, backend.name)
        if target.namespace != namespace and not self._granted(target, namespace):
            return (
                "RefNotPermitted",
                f"no ReferenceGrant in {target.namespace} allows routes in {namespace} to refer to {target.name}",
            )
        ports = self._ports(target)
        if ports is None:
            return "BackendNotFound", f"service {target.namespace}/{target.name} does not exist"
        if backend.port is None:
            return "UnsupportedValue", f"the reference to service {target.namespace}/{target.name} has no port"
        if backend.port not in ports.values():
            return "BackendNotFound", f"service {target.namespace}/{target.name} has no port {backend.port}"
        return None

    def _granted(self, target: Service, namespace: str) -> bool:
        return any(
            key.namespace == target.namespace
            and any((f.group, f.kind, f.namespace) == (GROUP, "HTTPRoute", namespace) for f in grant.spec.from_)
            and any(
                t.group in ("", "core") and t.kind == "Service" and t.name in (None, "", target.name)
                for t in grant.spec.to
            )
            for key, grant in self._grants.items()
        )


def _wrong_expressions(match: HTTPRouteMatch) -> Iterable[str]:
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


def _is_service(parent: ParentReference) -> bool:
    return parent.group in ("", "core") and parent.kind == "Service"


def _service(parent: ParentReference, namespace: str) -> Service:
    return Service(parent.namespace or namespace, parent.name)


def _group(parent: ParentReference, namespace: str) -> Group | None:
    return Group(_service(parent, namespace), namespace) if _is_service(parent) else None


def _groups(key: Key, route: HTTPRoute) -> Iterable[Group]:
    return (g for p in route.spec.parent_refs if (g := _group(p, key.namespace)) is not None)


def _destinations(key: Key, route: HTTPRoute) -> Iterable[Service]:
    for rule in route.spec.rules:
        for backend in _backends(rule):
            if backend.kind == "Service":
                yield Service(backend.namespace or key.namespace, backend.name)


def _backends(rule: HTTPRouteRule) -> Iterable[Backend]:
    yield from rule.backend_refs
    yield from (f.request_mirror.backend_ref for f in rule.filters if f.request_mirror is not None)
