"""RouteRule of Istio 0.x: one rule as a route of a VirtualService. Must not decide the order of rules; `istio_0` does.

Retries of 0.x were on `5xx,connect-failure,refused-stream`, which is written out, because today's default is another.
"""

from __future__ import annotations

from typing import Any

from .documents import Losses, entries, mapping, number, texts, without_empty
from .istio_services import Registry, string_match

_SPECIAL = ("uri", "scheme", "method", "authority")
_RETRY_ON = "5xx,connect-failure,refused-stream"


def http_route(spec: dict[str, Any], namespace: str, registry: Registry, losses: Losses) -> dict[str, Any] | None:
    """The route for HTTP; None if a condition cannot be said, because the rule would then hold for more requests."""
    match = _match(mapping(spec.get("match")), namespace, registry, losses)
    if match is None:
        return None
    route: dict[str, Any] = {"match": [match]} if match else {}
    redirect = without_empty({k: mapping(spec.get("redirect")).get(k) for k in ("uri", "authority")})
    if redirect:
        route["redirect"] = redirect
    else:
        route["route"] = destinations(spec, namespace, registry)
    rewrite = without_empty({k: mapping(spec.get("rewrite")).get(k) for k in ("uri", "authority")})
    timeout, retries = mapping(spec.get("httpReqTimeout")), mapping(spec.get("httpReqRetries"))
    simple_retry = mapping(retries.get("simpleRetry"))
    for field, value, known in (
        ("httpReqTimeout", timeout, "simpleTimeout"),
        ("httpReqRetries", retries, "simpleRetry"),
    ):
        if set(value) - {known}:
            losses.add(f"spec.{field}", "a custom policy has no equivalent", f"Write it as {known}.")
        if mapping(value.get(known)).get("overrideHeaderName"):
            text = "callers cannot override it by a header of any name"
            losses.add(f"spec.{field}.{known}.overrideHeaderName", text, "Send x-envoy- headers instead.")
    if mapping(spec.get("l4Fault")):
        losses.add("spec.l4Fault", "faults of connections have no equivalent", "Use httpFault for an HTTP service.")
    mirror = mapping(spec.get("mirror"))
    mirrored = registry.destination(mirror, mapping(mirror.get("labels")), namespace) if mirror else None
    cors = mapping(spec.get("corsPolicy"))
    return {
        **route,
        **without_empty(
            {
                "rewrite": rewrite,
                "timeout": mapping(timeout.get("simpleTimeout")).get("timeout"),
                "retries": _retries(simple_retry) if simple_retry else None,
                "fault": _fault(mapping(spec.get("httpFault")), losses),
                "mirror": mirrored,
                "corsPolicy": without_empty(
                    {
                        "allowOrigins": [{"exact": origin} for origin in texts(cors.get("allowOrigin"))],
                        **{
                            k: cors.get(k)
                            for k in ("allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials")
                        },
                    }
                ),
                "headers": {"request": {"add": mapping(spec.get("appendHeaders"))}}
                if spec.get("appendHeaders")
                else {},
            }
        ),
    }


def tcp_route(spec: dict[str, Any], namespace: str, registry: Registry, losses: Losses) -> dict[str, Any] | None:
    """The route for TCP; None if a condition cannot be said."""
    tcp = mapping(mapping(spec.get("match")).get("tcp"))
    source = _source(mapping(mapping(spec.get("match")).get("source")), namespace, registry, losses)
    if source is None:
        return None
    if texts(tcp.get("sourceSubnet")):
        text = "the rule is left out: addresses of callers cannot be matched"
        losses.add("spec.match.tcp.sourceSubnet", text, "Match labels of the callers with match.source.")
        return None
    match = without_empty({**source, "destinationSubnets": texts(tcp.get("destinationSubnet"))})
    return {**({"match": [match]} if match else {}), "route": destinations(spec, namespace, registry)}


def destinations(spec: dict[str, Any], namespace: str, registry: Registry) -> list[dict[str, Any]]:
    """The weighted destinations; without `route`, the rule's own destination."""
    own = mapping(spec.get("destination"))
    rows = entries(spec.get("route"))
    found = []
    for row in rows or [{}]:
        other = mapping(row.get("destination"))
        labels = mapping(row.get("labels")) or mapping((other or own).get("labels"))
        one: dict[str, Any] = {"destination": registry.destination(other or own, labels, namespace)}
        found.append({**one, "weight": int(number(row.get("weight")))} if len(rows) > 1 else one)
    return found


def _match(match: dict[str, Any], namespace: str, registry: Registry, losses: Losses) -> dict[str, Any] | None:
    for name in set(match) - {"source", "tcp", "request"}:
        losses.add(f"spec.match.{name}", "the rule is left out: the condition has no equivalent", "Remove it.")
        return None
    out: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    for name, value in mapping(mapping(match.get("request")).get("headers")).items():
        made = string_match(value, losses, f"spec.match.request.headers.{name}")
        if made is None:
            return None
        if name in _SPECIAL:
            out[name] = made
        else:
            headers[str(name).lower()] = made
    if headers:
        out["headers"] = headers
    source = _source(mapping(match.get("source")), namespace, registry, losses)
    return None if source is None else {**out, **source}


def _source(source: dict[str, Any], namespace: str, registry: Registry, losses: Losses) -> dict[str, Any] | None:
    """The callers of a service as their labels and namespace; None, with a loss, if they have none."""
    labels = {str(k): str(v) for k, v in mapping(source.get("labels")).items()}
    host = registry.host(source, namespace) if source.get("name") or source.get("service") else ""
    where = registry.scope.service_of(host) if host else None
    if where is not None:
        service = registry.services.get(where)
        if service is not None and service.spec.selector:
            labels = {**service.spec.selector, **labels}
        else:
            labels = {"app": where[1], **labels}
            text = f"the callers are found by the label app: {where[1]}, because their Service is not in the input"
            losses.add("spec.match.source", text, f"Add the Service {where[0]}/{where[1]} to the input.")
    elif host:
        text = f"the rule is left out: the source {host} is no service of the cluster"
        losses.add("spec.match.source", text, "Name a service, or labels of the callers.")
        return None
    given = source.get("namespace") or (where[0] if where and where[0] != registry.scope.namespace else None)
    return without_empty({"sourceLabels": labels, "sourceNamespace": given})


def _retries(simple: dict[str, Any]) -> dict[str, Any]:
    attempts = {"attempts": int(number(simple.get("attempts")))}
    more = {"perTryTimeout": simple["perTryTimeout"]} if simple.get("perTryTimeout") else {}
    return {**attempts, **more, "retryOn": _RETRY_ON} if attempts["attempts"] else attempts


def _fault(fault: dict[str, Any], losses: Losses) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, wanted in (("delay", ("fixedDelay",)), ("abort", ("httpStatus", "grpcStatus"))):
        part = mapping(fault.get(name))
        value = {field: part[field] for field in wanted if part.get(field) is not None}
        for field in set(part) - {*wanted, "percent"}:
            text, at = "it has no equivalent", f"spec.httpFault.{name}.{field}"
            losses.add(at, text, f"Use {' or '.join(wanted)}.")
        if value:
            out[name] = {**value, "percentage": {"value": number(part.get("percent"))}}
    return out
