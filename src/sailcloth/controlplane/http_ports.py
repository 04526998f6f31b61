"""The HTTP ports of the control plane: readiness, metrics, version, debug pages, webhooks. Must not know what the pages say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from sailcloth.lib.connections import ConnectionLimits, Connections, listen

from . import debug, debug_requests
from .identity import Verifier, bearer

_KEEPALIVE_S = 60.0  # for the next request on a connection, its head included
_LARGEST = 8 << 20  # bytes of a request
# Nobody authenticates at the level of connections here: under pressure the longest idle connection of the busiest address goes.
_LIMITS = ConnectionLimits(unauthenticated=512, unauthenticated_s=None)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Ports:
    """Where to listen. `plain`: port numbers without TLS, 0 for none; `secure`: the one with it."""

    address: str
    plain: tuple[int, ...]
    secure: int


async def serve(
    routes: Iterable[web.RouteDef], ports: Ports, context: ssl.SSLContext, tasks: list[asyncio.Task[None]]
) -> web.AppRunner:
    """Serve the routes and the common pages at all ports; the tasks that accept connections are added to `tasks`."""
    # istioctl writes some paths with two slashes, which Go's servers take.
    app = web.Application(client_max_size=_LARGEST, middlewares=[web.normalize_path_middleware()])
    app.add_routes([web.get("/ready", _ready), web.get("/version", _version), *routes])
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=_KEEPALIVE_S)
    await runner.setup()
    assert runner.server is not None
    connections = Connections("the control plane's HTTP ports", _LIMITS)
    secured = {**dict.fromkeys(filter(None, ports.plain)), ports.secure: context}
    for port, tls in secured.items():
        accepting = connections.serve(listen(ports.address, port), runner.server, tls)
        tasks.append(asyncio.create_task(accepting, name=f"port {port}"))
    return runner


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ready")


async def _version(request: web.Request) -> web.Response:
    """As Istio's control plane: `VERSION-REVISION-STATUS`; with `format=json` all of it."""
    info = debug_requests.build_info()
    if request.query.get("format") == "json":
        return debug.json(info)
    return web.Response(text=f"{info['version']}-{info['revision']}-{info['status']}")


async def scope(request: web.Request, verifier: Verifier, own_namespace: str) -> str:
    """The namespace whose proxies a caller may see; `*` for all. Callers on this machine (such as port-forward and the API server of a local
    cluster) and tokens of the installation's namespace see all; other tokens see their own namespace. Raises PermissionError."""
    transport = request.transport
    own_address, peer_address = (
        transport.get_extra_info(name) if transport is not None else None for name in ("sockname", "peername")
    )
    if own_address and peer_address and own_address[0] == peer_address[0]:
        return "*"
    caller = await verifier.caller(bearer({"authorization": request.headers.get("Authorization", "")}))
    return "*" if caller.namespace == own_namespace else caller.namespace
