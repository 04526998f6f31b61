"""Debug pages over HTTP: the sync state and the configuration of proxies. Must not change anything."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from sailcloth.analysis import offline
from sailcloth.envoy.resources import name_table
from sailcloth.xds.types import NAMES, SECRET, SHORT

from .change_log import ChangeLog
from .connected_proxies import ConnectedProxies, ConnectedProxy

_SHORT = {url: short for url, short in SHORT.items() if url != SECRET}
_CHANGES = 20  # on a page that asks for no number


def json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value, option=orjson.OPT_INDENT_2), content_type="application/json")


def sync(client: ConnectedProxy, name: str) -> dict[str, Any]:
    """One proxy's row in `proxy-status`."""
    stream = client.connection.stream
    types = {}
    for url, short in _SHORT.items():
        subscribed, synced, acked = stream.state(url)
        error = stream.errors.get(url)
        types[short] = "ERROR" if error else "SYNCED" if synced and acked else "STALE" if subscribed else "NOT SENT"
    return {
        "name": client.proxy.id,
        "cluster": str(client.proxy.metadata.get("CLUSTER_ID") or "Kubernetes"),
        "istiod": name,
        "version": str(client.proxy.metadata.get("ISTIO_VERSION") or ""),
        "types": types,
        "subscribed": [s for u, s in _SHORT.items() if stream.subscribes(u)],
        "errors": {_SHORT.get(u, u): e for u, e in stream.errors.items()},
        "connectedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(client.connected_at)),
    }


Scope = Callable[[web.Request], Awaitable[str]]
"""The namespace whose proxies a caller may see; `*` for all. Raises PermissionError."""


def routes(
    proxies: ConnectedProxies,
    changes: ChangeLog,
    name: str,
    scope: Scope,
    certificates: Callable[[], dict[str, Any]],
) -> list[web.RouteDef]:
    """The pages. Each shows a caller only the proxies in its scope. `certificates`: the CA's status."""

    def guarded(page: Callable[[web.Request, str], web.Response]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            try:
                namespace = await scope(request)
            except PermissionError as error:
                return web.Response(status=401, text=f"{error}; send a service account's token (audience istio-ca)\n")
            return page(request, namespace)

        return handler

    def client_of(request: web.Request, allowed: str) -> ConnectedProxy:
        """The proxy that the request names in `proxyID`. Raises HTTPForbidden or HTTPNotFound."""
        pod, _, namespace = request.query.get("proxyID", "").partition(".")
        if allowed not in ("*", namespace):
            raise web.HTTPForbidden(text=f"a token of namespace {allowed} shows the proxies of that namespace only\n")
        for client in proxies.find(pod, namespace):
            return client
        raise web.HTTPNotFound(text=f"no proxy {pod}.{namespace} is connected; use ?proxyID=POD.NAMESPACE\n")

    def syncz(_: web.Request, allowed: str) -> web.Response:
        clients = sorted(proxies.clients.values(), key=lambda c: c.proxy.id)
        return json([sync(c, name) for c in clients if allowed in ("*", c.proxy.namespace)])

    def config_dump(request: web.Request, allowed: str) -> web.Response:
        stream = client_of(request, allowed).connection.stream
        return json(offline.config_dump({url: stream.resources_of(url) for url in stream.collections}))

    def names(request: web.Request, allowed: str) -> web.Response:
        """The names that a proxy's DNS proxy resolves, as in Istio's page `ndsz`."""
        client = client_of(request, allowed)
        tables = offline.resources(proxies.mesh, client.proxy).get(NAMES, ())
        ips_by_host = {host: list(ips) for table in tables for host, ips in name_table.decode(table.body).items()}
        return json({"table": {host: {"ips": ips} for host, ips in sorted(ips_by_host.items())}})

    def registryz(_: web.Request, allowed: str) -> web.Response:
        keys = (k for k in proxies.mesh.objects if k.kind == "Service" and allowed in ("*", k.namespace))
        return json(sorted(str(key) for key in keys))

    def caz(_: web.Request, allowed: str) -> web.Response:
        if allowed != "*":
            raise web.HTTPForbidden(text="only tokens of the installation's namespace may see the CA's status\n")
        return json(certificates())

    def changez(request: web.Request, allowed: str) -> web.Response:
        """The last changes, newest first; of one object with `kind`, `namespace`, `name`; those later than number `after`; with `previous`
        the versions of users' objects that they have replaced."""
        wanted = {k: request.query[k] for k in ("kind", "namespace", "name") if k in request.query}
        try:
            limit, after = int(request.query.get("limit", _CHANGES)), int(request.query.get("after", 0))
        except ValueError:
            raise web.HTTPBadRequest(text="limit and after are numbers\n") from None
        shown: list[dict[str, Any]] = []
        for change in reversed(list(changes)):
            if change.number <= after or len(shown) >= limit:
                break
            waiting = [
                c.proxy.id
                for c in proxies.clients.values()
                if allowed in ("*", c.proxy.namespace) and change in c.changes and not c.connection.stream.in_sync
            ]
            page = changes.page(change, allowed, waiting, "previous" in request.query)
            if any(wanted.items() <= each.items() for each in page["objects"]):
                shown.append(page)
        return json(shown)

    pages = {
        "changez": changez,
        "caz": caz,
        "syncz": syncz,
        "config_dump": config_dump,
        "registryz": registryz,
        "ndsz": names,
    }
    return [web.get(f"/debug/{page}", guarded(handler)) for page, handler in pages.items()]
