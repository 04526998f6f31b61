"""The control plane's HTTP pages: readiness, proxies' sync state, and what a proxy would be sent. Read only."""

from __future__ import annotations

import time
from typing import Any

import orjson
from aiohttp import web

from sailcloth.analysis import offline
from sailcloth.envoy.resources import name_table
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, NAMES, ROUTES

from .connected_proxies import ConnectedProxies, ConnectedProxy

_SHORT = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS", NAMES: "NDS"}


def json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value, option=orjson.OPT_INDENT_2), content_type="application/json")


def sync(client: ConnectedProxy, name: str) -> dict[str, Any]:
    """One proxy's line of proxy-status."""
    stream = client.connection.stream
    types = {}
    for url, short in _SHORT.items():
        asked, settled, acked = stream.state(url)
        error = stream.errors.get(url)
        types[short] = "ERROR" if error else "SYNCED" if settled and acked else "STALE" if asked else "NOT SENT"
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


def routes(proxies: ConnectedProxies, name: str) -> list[web.RouteDef]:
    """The pages."""

    async def syncz(_: web.Request) -> web.Response:
        clients = sorted(proxies.clients.values(), key=lambda c: c.proxy.id)
        return json([sync(c, name) for c in clients])

    async def config_dump(request: web.Request) -> web.Response:
        pod, _, namespace = request.query.get("proxyID", "").partition(".")
        for client in proxies.find(pod, namespace):
            stream = client.connection.stream
            return json(offline.config_dump({url: stream.held(url) for url in stream.collections}))
        return web.Response(status=404, text=f"no proxy {pod}.{namespace} is connected; use ?proxyID=POD.NAMESPACE")

    async def names(request: web.Request) -> web.Response:
        """The names that a proxy's agent answers itself. Istio's page of the name."""
        pod, _, namespace = request.query.get("proxyID", "").partition(".")
        for client in proxies.find(pod, namespace):
            tables = offline.resources(proxies.mesh, client.proxy).get(NAMES, ())
            found = {host: list(ips) for made in tables for host, ips in name_table.decode(made.body).items()}
            return json({"table": {host: {"ips": ips} for host, ips in sorted(found.items())}})
        return web.Response(status=404, text=f"no proxy {pod}.{namespace} is connected; use ?proxyID=POD.NAMESPACE")

    async def registryz(_: web.Request) -> web.Response:
        return json(sorted(str(key) for key in proxies.mesh.objects if key.kind == "Service"))

    return [
        web.get("/debug/syncz", syncz),
        web.get("/debug/config_dump", config_dump),
        web.get("/debug/registryz", registryz),
        web.get("/debug/ndsz", names),
    ]
