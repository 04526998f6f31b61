"""The console as a process. Must not know the embedded cluster."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from sailcloth.kube import Client
from sailcloth.kube import config as endpoints
from sailcloth.kube.run import until_signalled
from sailcloth.lib.connections import ConnectionLimits, Connections, listen

from .access import Access
from .links import Links
from .openid import OpenId, Settings
from .server import Console
from .sources import AccessLogs, Cluster, ControlPlane, Metrics, Tracing

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
_KEEPALIVE_S = 60.0
_LIMITS = ConnectionLimits(unauthenticated=512, unauthenticated_s=None)


@dataclass(frozen=True)
class Config:
    """Settings of the process, from its JSON file. prometheus, tracing, control_plane: URLs."""

    kubeconfig: str = ""
    address: str = "127.0.0.1"
    port: int = 20001
    prometheus: str = "http://prometheus.istio-system:9090"
    tracing: str = "http://tracing.istio-system:80"
    control_plane: str = "http://istiod.istio-system:15014"
    access_logs: str = "http://access-logs.istio-system:3100"
    token_file: str = ""  # a file with a token that logs in as the account `kiali`; for a cluster of one user
    links_file: str = ""  # where short links are kept; without one they are gone after a restart
    view_only: bool = False
    url: str = ""  # the console's own, as browsers see it; for OpenID Connect
    openid_issuer: str = ""
    openid_client: str = ""
    openid_secret_file: str = ""
    openid_scopes: str = "openid email groups"
    after: str = ""  # a file to wait for before the start
    ready_fd: int = -1


def load_config(path: str) -> Config:
    """Settings from a JSON file. Raises msgspec.ValidationError for wrong types."""
    with open(path, "rb") as file:
        return msgspec.json.decode(file.read(), type=Config)


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    await until_signalled(config.kubeconfig, lambda client: _run(client, config))


def _token(path: str) -> str:
    return Path(path).read_text().strip() if path else ""


def _openid(config: Config) -> Settings:
    secret = _token(config.openid_secret_file)
    return Settings(config.openid_issuer, config.openid_client, config.url, secret, config.openid_scopes)


async def _run(client: Client, config: Config) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        cluster, plane = Cluster(client), ControlPlane(session, config.control_plane)
        page = PAGE if (PAGE / "index.html").is_file() else None
        access = Access(client, _token(config.token_file))

        def act_as(token: str) -> Client:
            path = config.kubeconfig
            return Client(endpoints.from_kubeconfig(path, token=token) if path else endpoints.load(token))

        login = OpenId(session, _openid(config)) if config.openid_issuer else None
        metrics, writes = Metrics(session, config.prometheus), None if config.view_only else act_as
        logs, tracing = AccessLogs(session, config.access_logs), Tracing(session, config.tracing)
        links = Links(Path(config.links_file) if config.links_file else None)
        console = Console(cluster, metrics, tracing, plane, access, page, writes, login, logs, links)
        runner = web.AppRunner(console.application(), access_log=None, keepalive_timeout=_KEEPALIVE_S)
        await runner.setup()
        assert runner.server is not None
        connections = Connections("the console", _LIMITS)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(cluster.run())
                group.create_task(plane.run())
                group.create_task(connections.serve(listen(config.address, config.port), runner.server, None))
                log.info("serving the console on %s:%d", config.address, config.port)
                if config.ready_fd >= 0:
                    os.write(config.ready_fd, b"1")
        finally:
            await runner.cleanup()
