"""The form of a service's traffic: its VirtualService and DestinationRule as rules, versions and policy.

What it can say: routing by attributes of requests, shares, faults, timeouts, retries and mirrors, for HTTP and TCP; load balancing, limits of
connections, outlier detection and TLS of the destination; hosts and gateways.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from .paths import CannotSay, Object, Path, get, put, require_same

Struct = msgspec.Struct
_NETWORKING = "networking.istio.io/v1"
Part = Literal["header", "queryParam", "uri", "method", "authority", "scheme"]
Operator = Literal["exact", "prefix", "regex", "present", "absent"]


class Condition(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """`name`: of a header or parameter."""

    part: Part
    operator: Operator = "exact"
    name: str = ""
    value: str = ""


class Target(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """`weight`: relative to the other targets of the rule. `port`: 0 for the request's own."""

    host: str
    subset: str = ""
    port: int = 0
    weight: int = 0


class HttpRule(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A request matches if it meets all conditions of one of `matches`; without any, always. Times such as 1.5s; shares in percent."""

    name: str | None = None
    matches: list[list[Condition]] = []
    targets: list[Target] = []
    timeout: str | None = None
    attempts: int | None = None
    per_try_timeout: str | None = None
    retry_on: str | None = None
    delay: str | None = None
    delay_percent: float | None = None
    abort_status: int | None = None
    abort_percent: float | None = None
    mirror: Target | None = None
    mirror_percent: float | None = None


class TcpRule(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Connections to a port of the service; 0 for every port."""

    port: int = 0
    targets: list[Target] = []


class Policy(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What is None is not set."""

    load_balancer: str | None = None
    hash_header: str | None = None
    hash_cookie: str | None = None
    hash_cookie_ttl: str | None = None
    hash_query_param: str | None = None
    hash_source_ip: bool | None = None
    max_connections: int | None = None
    connect_timeout: str | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    consecutive_errors: int | None = None
    consecutive_gateway_errors: int | None = None
    outlier_interval: str | None = None
    base_ejection_time: str | None = None
    max_ejection_percent: int | None = None
    tls_mode: str | None = None


class Subset(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    name: str
    labels: dict[str, str] = {}


class TrafficRules(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Without rules there is no VirtualService, without subsets and policy no DestinationRule."""

    hosts: list[str]
    gateways: list[str] = []
    http: list[HttpRule] = []
    tcp: list[TcpRule] = []
    policy: Policy = Policy()
    subsets: list[Subset] = []


_RULE: dict[str, Path] = {
    "name": ("name",),
    "timeout": ("timeout",),
    "attempts": ("retries", "attempts"),
    "per_try_timeout": ("retries", "perTryTimeout"),
    "retry_on": ("retries", "retryOn"),
    "delay": ("fault", "delay", "fixedDelay"),
    "delay_percent": ("fault", "delay", "percentage", "value"),
    "abort_status": ("fault", "abort", "httpStatus"),
    "abort_percent": ("fault", "abort", "percentage", "value"),
}
_POOL, _OUTLIER, _HASH = ("connectionPool",), ("outlierDetection",), ("loadBalancer", "consistentHash")
_POLICY: dict[str, Path] = {
    "load_balancer": ("loadBalancer", "simple"),
    "hash_header": (*_HASH, "httpHeaderName"),
    "hash_cookie": (*_HASH, "httpCookie", "name"),
    "hash_cookie_ttl": (*_HASH, "httpCookie", "ttl"),
    "hash_query_param": (*_HASH, "httpQueryParameterName"),
    "hash_source_ip": (*_HASH, "useSourceIp"),
    "max_connections": (*_POOL, "tcp", "maxConnections"),
    "connect_timeout": (*_POOL, "tcp", "connectTimeout"),
    "max_pending_requests": (*_POOL, "http", "http1MaxPendingRequests"),
    "max_requests": (*_POOL, "http", "http2MaxRequests"),
    "max_requests_per_connection": (*_POOL, "http", "maxRequestsPerConnection"),
    "max_retries": (*_POOL, "http", "maxRetries"),
    "consecutive_errors": (*_OUTLIER, "consecutive5xxErrors"),
    "consecutive_gateway_errors": (*_OUTLIER, "consecutiveGatewayErrors"),
    "outlier_interval": (*_OUTLIER, "interval"),
    "base_ejection_time": (*_OUTLIER, "baseEjectionTime"),
    "max_ejection_percent": (*_OUTLIER, "maxEjectionPercent"),
    "tls_mode": ("tls", "mode"),
}
_PLAIN: tuple[Part, ...] = ("uri", "method", "authority", "scheme")
_NAMED: dict[str, Part] = {"headers": "header", "queryParams": "queryParam"}


def read(
    virtual_service: Mapping[str, Any] | None, destination_rule: Mapping[str, Any] | None, host: str
) -> TrafficRules:
    """The form of a service's objects; `host`: the service, for a form without a VirtualService. Raises CannotSay."""
    routes = _normal(virtual_service["spec"]) if virtual_service else {}
    destination = destination_rule["spec"] if destination_rule else {}
    form = _convert(
        {
            "hosts": routes.get("hosts") or [host],
            "gateways": routes.get("gateways") or [],
            "http": [_http_rule(rule) for rule in routes.get("http") or ()],
            "tcp": [
                {"port": get(rule, ("match", 0, "port")) or 0, "targets": _targets(rule)}
                for rule in routes.get("tcp") or ()
            ],
            "policy": {name: get(destination.get("trafficPolicy"), path) for name, path in _POLICY.items()},
            "subsets": [
                {"name": s.get("name"), "labels": s.get("labels") or {}} for s in destination.get("subsets") or ()
            ],
        },
    )
    if virtual_service:
        require_same(_routes(form), routes, f"VirtualService {virtual_service['metadata']['name']}")
    if destination_rule:
        where = f"DestinationRule {destination_rule['metadata']['name']}"
        require_same({**_destination(form), "host": destination.get("host")}, destination, where)
    return form


def write(
    form: TrafficRules,
    virtual_service: Mapping[str, Any] | None,
    destination_rule: Mapping[str, Any] | None,
    namespace: str,
    host: str,
) -> tuple[list[Object], list[Mapping[str, Any]]]:
    """(objects to apply, objects to delete), a DestinationRule before the routes that need it. Objects that exist keep their metadata;
    new ones are named after the service, the first label of `host`."""
    apply: list[Object] = []
    delete: list[Mapping[str, Any]] = []
    pairs: tuple[tuple[str, Mapping[str, Any] | None, Object], ...] = (
        ("DestinationRule", destination_rule, _destination(form)),
        ("VirtualService", virtual_service, _routes(form) if form.http or form.tcp else {}),
    )
    for kind, existing, spec in pairs:
        if kind == "DestinationRule" and spec:
            spec = {"host": existing["spec"].get("host", host) if existing else host, **spec}
        head = {"name": host.partition(".")[0], "namespace": namespace}
        if spec:
            metadata = existing["metadata"] if existing else head
            version = existing["apiVersion"] if existing else _NETWORKING
            apply.append({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
        elif existing:
            delete.append(existing)
    return apply, delete


# -- objects to forms ---------------------------------------------------------------------------


def _convert(values: Object) -> TrafficRules:
    """Raises CannotSay for values of other types than the form's."""
    try:
        return msgspec.convert(_camel(values), TrafficRules)
    except msgspec.ValidationError as error:
        raise CannotSay(f"the form cannot say this: {error}; use the editor") from None


def _camel(value: Any) -> Any:
    """Fields of forms by their names in JSON; keys of labels stay."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {_json_name(k): v if k == "labels" else _camel(v) for k, v in value.items()}


def _json_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def _normal(spec: Mapping[str, Any]) -> Object:
    """A VirtualService's spec with older spellings replaced, and without weights that say nothing."""
    out = copy.deepcopy(dict(spec))
    for rule in (*(out.get("http") or ()), *(out.get("tcp") or ())):
        routes = rule.get("route") or []
        if len(routes) == 1:
            routes[0].pop("weight", None)
        mirror = rule.pop("mirror", None)
        percentage = rule.pop("mirrorPercentage", None) or (
            {"value": rule["mirrorPercent"]} if "mirrorPercent" in rule else None
        )
        rule.pop("mirrorPercent", None)
        if mirror:
            rule["mirrors"] = [{"destination": mirror, **({"percentage": percentage} if percentage else {})}]
        for fault in (rule.get("fault") or {}).values():
            if "percent" in fault:
                fault["percentage"] = {"value": fault.pop("percent")}
    return out


def _http_rule(rule: Object) -> Object:
    mirror = get(rule, ("mirrors", 0))
    return {
        **{name: get(rule, path) for name, path in _RULE.items()},
        "matches": [_conditions(match) for match in rule.get("match") or ()],
        "targets": _targets(rule),
        "mirror": _target({"destination": mirror.get("destination")}) if mirror else None,
        "mirror_percent": get(mirror, ("percentage", "value")),
    }


def _conditions(match: Object) -> list[Object]:
    out = [_condition(part, "", match[part]) for part in _PLAIN if part in match]
    for field, part in _NAMED.items():
        out += [_condition(part, name, value) for name, value in (match.get(field) or {}).items()]
    absent = match.get("withoutHeaders") or {}
    return [
        *out,
        *({"part": "header", "operator": "absent", "name": n, "value": ""} for n, v in absent.items() if not v),
    ]


def _condition(part: Part, name: str, value: Any) -> Object:
    operator, operand = next(iter(value.items()), ("present", "")) if isinstance(value, Mapping) else ("exact", "")
    return {"part": part, "operator": operator, "name": name, "value": operand}


def _targets(rule: Object) -> list[Object]:
    return [_target(route) for route in rule.get("route") or ()]


def _target(route: Object) -> Object:
    destination = route.get("destination") or {}
    return {
        "host": destination.get("host") or "",
        "subset": destination.get("subset") or "",
        "port": get(destination, ("port", "number")) or 0,
        "weight": route.get("weight") or 0,
    }


# -- forms to objects ---------------------------------------------------------------------------


def _routes(form: TrafficRules) -> Object:
    spec: Object = {"hosts": form.hosts}
    if form.gateways:
        spec["gateways"] = form.gateways
    if form.http:
        spec["http"] = [_http(rule) for rule in form.http]
    if form.tcp:
        spec["tcp"] = [
            {**({"match": [{"port": rule.port}]} if rule.port else {}), "route": _route(rule.targets)}
            for rule in form.tcp
        ]
    return spec


def _destination(form: TrafficRules) -> Object:
    """The spec without its host; empty if it would say nothing."""
    spec: Object = {}
    policy: Object = {}
    for name, path in _POLICY.items():
        if (value := getattr(form.policy, name)) is not None:
            put(policy, path, value)
    if policy:
        spec["trafficPolicy"] = policy
    if form.subsets:
        spec["subsets"] = [{"name": s.name, **({"labels": s.labels} if s.labels else {})} for s in form.subsets]
    return spec


def _http(rule: HttpRule) -> Object:
    out: Object = {}
    for name, path in _RULE.items():
        if (value := getattr(rule, name)) is not None:
            put(out, path, value)
    if rule.matches:
        out["match"] = [_match(conditions) for conditions in rule.matches]
    if rule.mirror:
        percentage = {} if rule.mirror_percent is None else {"percentage": {"value": rule.mirror_percent}}
        out["mirrors"] = [{"destination": _destination_of(rule.mirror), **percentage}]
    if rule.targets:
        out["route"] = _route(rule.targets)
    return out


def _match(conditions: Sequence[Condition]) -> Object:
    fields = {part: field for field, part in _NAMED.items()}
    out: Object = {}
    for condition in conditions:
        value = {} if condition.operator in ("present", "absent") else {condition.operator: condition.value}
        if condition.part in fields:
            field = "withoutHeaders" if condition.operator == "absent" else fields[condition.part]
            out.setdefault(field, {})[condition.name] = value
        else:
            out[condition.part] = value
    return out


def _route(targets: Sequence[Target]) -> list[Object]:
    several = len(targets) > 1
    return [
        {"destination": _destination_of(target), **({"weight": target.weight} if several else {})} for target in targets
    ]


def _destination_of(target: Target) -> Object:
    out: Object = {"host": target.host}
    if target.subset:
        out["subset"] = target.subset
    if target.port:
        out["port"] = {"number": target.port}
    return out
