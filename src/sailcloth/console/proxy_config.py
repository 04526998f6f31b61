"""The configuration of a pod's proxy in tables, and as JSON.

It comes from the control plane's debug page, which only reads, not from Envoy's admin interface, which could also end the proxy and needs
the right to forward ports (`envoy_admin`). So it is what the proxy is given; whether it has taken it, its sync state says. It has no secrets: keys
and tokens never pass the control plane's resources, and what looks like one (in an EnvoyFilter's patch) is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from aiohttp import web

from sailcloth.analysis import proxy_tables

from . import details
from .access import Access
from .answers import USER, Forbidden, Missing, answer, required
from .assemble import Scope, Snapshot
from .schema_details import MeshObject, ProxyConfig, ProxyRow, ProxyTable
from .sources import ControlPlane

Object = Mapping[str, Any]
REDACTED = "[redacted]"
_SECRET = re.compile(
    r"private_?key|pass(?:word|phrase)|client_?secret|hmac_?secret|token_?secret|api_?key|generic_?secret|session_?ticket_?keys|"
    r"^authorization$|^(?:access|bearer|refresh)_?token$",
    re.IGNORECASE,
)
_SENSITIVE_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
_HOST = re.compile(r"\.([a-z0-9-]+)\.svc(?![\w-])")


class ProxyPages:
    """The routes of proxies' configuration. look: what a request asks for, and what its user may see."""

    def __init__(
        self,
        control_plane: ControlPlane,
        access: Access,
        look: Callable[[web.Request], Awaitable[tuple[Snapshot, Scope]]],
    ) -> None:
        self._control_plane, self._access, self._look = control_plane, access, look

    def routes(self) -> list[web.RouteDef]:
        """What they serve."""
        return [web.get("/api/proxy-config", self._tables), web.get("/api/proxy-config/json", self._json)]

    async def _tables(self, request: web.Request) -> web.Response:
        proxy, scope = await self.proxy(request)
        everything = await self._access.reads_all(request[USER])
        dump = await self._control_plane.config_dump(proxy)
        readable = None if everything else scope.readable
        return answer(
            ProxyConfig(
                pod=proxy.partition(".")[0],
                sync=next((dict(row["types"]) for row in self._control_plane.sync.rows if row["name"] == proxy), {}),
                tables=list(tables(dump, readable)),
                whole=everything,
            )
        )

    async def _json(self, request: web.Request) -> web.Response:
        proxy, _ = await self.proxy(request)
        if not await self._access.reads_all(request[USER]):
            raise Forbidden(
                "the JSON of a proxy's configuration names all namespaces, and you may not list the pods of all",
                "The tables have what concerns the namespaces that you may read.",
            )
        return answer(redacted(await self._control_plane.config_dump(proxy)))

    async def proxy(self, request: web.Request, namespace: str = "", pod: str = "") -> tuple[str, Scope]:
        """(POD.NAMESPACE, what the user may see); without names, of the request's parameters. Raises Missing."""
        namespace, pod = namespace or required(request, "namespace"), pod or required(request, "pod")
        snapshot, scope = await self._look(request)
        if namespace not in scope.readable:
            raise details.no_namespace(namespace)
        known = any(w.namespace == namespace and pod in w.pods for w in snapshot.inventory.workloads.values())
        if not known:
            raise Missing(f"no pod {pod} in namespace {namespace}", "It may have been replaced; choose another.")
        proxy = f"{pod}.{namespace}"
        if proxy not in self._control_plane.sync.proxies:
            raise Missing(
                f"no proxy of pod {pod} is connected to the control plane",
                "Without a sidecar there is none: label the namespace with istio-injection=enabled, and restart the pod.",
            )
        return proxy, scope


def tables(dump: Object, readable: frozenset[str] | None) -> Iterator[ProxyTable]:
    """Clusters, listeners, routes and endpoints. readable: namespaces that rows may be about; None: all."""
    parts: tuple[tuple[Any, Callable[[list[dict[str, Any]]], proxy_tables.Rows]], ...] = (
        ("cluster", lambda found: iter(sorted(proxy_tables.cluster_rows(found), key=lambda row: row[0]))),
        ("listener", lambda found: ((row, None) for row in proxy_tables.listeners(found)[1])),
        ("route", proxy_tables.route_rows),
        ("endpoint", lambda found: ((row, None) for row in proxy_tables.endpoints(found)[1])),
    )
    for part, rows_of in parts:
        shown: list[ProxyRow] = []
        hidden = 0
        for cells, origin in rows_of(proxy_tables.entries(dict(dump), part, {})):
            if not _is_readable(cells, origin, readable):
                hidden += 1
                continue
            ref = MeshObject(kind=origin[0], namespace=origin[1], name=origin[2]) if origin is not None else None
            shown.append(ProxyRow(cells=cells, origin=ref))
        yield ProxyTable(part=part, columns=list(_COLUMNS[part]), rows=shown, hidden=hidden)


_COLUMNS = {
    "cluster": ("Host", "Port", "Subset", "Direction", "Type", "DestinationRule"),
    "listener": ("Address", "Port", "Match", "Destination"),
    "route": ("Name", "Virtual host", "Domains", "Match", "VirtualService"),
    "endpoint": ("Endpoint", "Status", "Outlier check", "Cluster"),
}


def _is_readable(cells: list[str], origin: proxy_tables.Ref | None, readable: frozenset[str] | None) -> bool:
    """Whether a row names only hosts and an object of these namespaces."""
    if readable is None:
        return True
    named = {namespace for cell in cells for namespace in _HOST.findall(cell)}
    return named <= readable and (origin is None or origin[1] in readable)


def redacted(value: Any) -> Any:
    """The value without what looks like a secret: by the names of fields, and of headers that routes add."""
    if isinstance(value, Mapping):
        header = value.get("key") if "value" in value else None
        if isinstance(header, str) and header.lower() in _SENSITIVE_HEADERS:
            return {**value, "value": REDACTED}
        return {key: REDACTED if _SECRET.search(key) and item else redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value
