"""Which routes of a VirtualService got requests, by the access logs of the proxies that sent them. Pure.

A log line names the route if the rule names it; else only where it went, so unnamed routes to the same destination cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .references import service_of
from .schema_edit import RouteUse, RuleUse

Object = Mapping[str, Any]
_Target = tuple[str, str]  # host and subset


def of(rule: Object, rows: Iterable[Object], readable: frozenset[str]) -> RuleUse:
    """rows: requests that were sent. readable: the namespaces whose proxies' logs count."""
    routes = list(_routes(rule))
    counts = [0] * len(routes)
    looked = 0
    for row in rows:
        if str(row.get("source") or "").partition("/")[0] not in readable:
            continue
        looked += 1
        name, target = str(row.get("route") or "").strip("-"), _target(str(row.get("upstream_cluster") or ""))
        for at, (own, targets) in enumerate(routes):
            is_named = (name == own or name.startswith(f"{own}.")) if own else not name
            if is_named and (target in targets or (own and not targets)):
                counts[at] += 1
    return RuleUse(
        looked=looked,
        routes=[
            RouteUse(
                name=name,
                destinations=sorted({" ".join(filter(None, target)) for target in targets}),
                requests=counts[at] if name or targets else None,
                shared=not name and any(not n and targets & t for i, (n, t) in enumerate(routes) if i != at),
            )
            for at, (name, targets) in enumerate(routes)
        ],
    )


def _routes(rule: Object) -> Iterator[tuple[str, set[_Target]]]:
    """(name, destinations) of each route, in order."""
    spec, namespace = rule.get("spec") or {}, rule["metadata"].get("namespace", "")
    for kind in ("http", "tls", "tcp"):
        for route in spec.get(kind) or ():
            named = [d.get("destination") or {} for d in route.get("route") or ()]
            targets = {(_host(str(d.get("host", "")), namespace), str(d.get("subset") or "")) for d in named}
            yield str(route.get("name") or ""), targets


def _target(cluster: str) -> _Target:
    """The destination of an Envoy cluster's name: outbound|PORT|SUBSET|HOST."""
    parts = cluster.split("|")
    return (_host(parts[3], ""), parts[2]) if len(parts) == 4 else ("", "")


def _host(host: str, namespace: str) -> str:
    """NAME.NAMESPACE of a service of the mesh, another host as it is."""
    where, name = service_of(host, namespace)
    is_service = ".svc" in host or host.count(".") == 0 or (namespace and host.count(".") == 1)
    return f"{name}.{where}" if is_service else host
