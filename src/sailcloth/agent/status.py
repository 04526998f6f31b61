"""Port 15020 of a pod: readiness, rewritten probes and hooks of the application, merged metrics.

The agent serves it through a socket in the pod's network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sailcloth.lib import http1
from sailcloth.lib.time_limit import within

from . import probes
from .bootstrap import ENVOY_STATISTICS, STATUS_PORT
from .merged_metrics import MergedMetrics
from .netns import PodSockets, socket_in

log = logging.getLogger(__name__)

_HEAD_S = 5.0  # for the head of a request, which has 64 KiB at most
_PROXY = "istio-proxy"
PAGES = ("/stats/prometheus", ENVOY_STATISTICS, "/metrics")
"""Pages of metrics: all of the pod, Envoy's, the agent's."""
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_WORTH_COMPRESSING = 4096  # bytes
_GZIP = re.compile(rb"^accept-encoding:[^\r\n]*\bgzip\b", re.IGNORECASE | re.MULTILINE)


class StatusServer:
    """A small HTTP/1.0 server: each request is one page."""

    def __init__(
        self,
        sockets: PodSockets,
        address: str,
        pod: dict[str, Any],
        metrics: MergedMetrics | None = None,
        local_only: bool = False,
    ) -> None:
        """`address` is the pod's. `local_only`: metrics are for the pod itself, as METRICS_LOCALHOST_ACCESS_ONLY says."""
        self._local_only = local_only
        self._sockets, self._netns_fd, self._address = sockets, sockets.netns_fd, address
        self._metrics = metrics
        self._probers = _probers(pod)
        self.actions: Mapping[str, Callable[[], Awaitable[None]]] = {}  # what a POST from within the pod does, by path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        try:
            created = self._sockets.bound(socket.SOCK_STREAM, "0.0.0.0", STATUS_PORT)  # noqa: S104  the kubelet probes it at the pod's address
        except OSError as error:
            log.warning(
                "port %d of the pod is taken (%s): probes that were rewritten to it will fail", STATUS_PORT, error
            )
            return
        self._server = await asyncio.start_server(self._answer, sock=created)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            line = head.partition(b"\r\n")[0]
            parts = line.decode(errors="replace").split()
            path = parts[1] if len(parts) > 1 else "/"
            if self._local_only and path in PAGES and not _local(writer):
                code, body = 403, b"metrics are for this pod only\n"
            elif path in self.actions:
                code, body = await self._act(parts[0], path, writer)
            else:
                code, body = await self._page(path)
            start = f"HTTP/1.1 {code} {'OK' if code == 200 else 'Error'}\r\nContent-Type: {_TEXT}\r\n"
            if len(body) > _WORTH_COMPRESSING and _accepts_gzip(head):
                body = await asyncio.to_thread(gzip.compress, body, 1)
                start += "Content-Encoding: gzip\r\n"
            writer.write(f"{start}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _act(self, method: str, path: str, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
        if not _local(writer):
            return 403, b"for processes of this pod only\n"
        if method != "POST":
            return 405, b"use POST\n"
        await self.actions[path]()
        return 200, b"OK\n"

    async def _page(self, path: str) -> tuple[int, bytes]:
        if path.startswith(("/app-health/", "/app-lifecycle/")):
            return await self._probe(path)
        if path == "/healthz/ready":
            return await self._get(15021, "/healthz/ready", 3)
        if self._metrics is not None and path in PAGES:
            return await self._counted(path, self._metrics)
        return 404, b"not found\n"

    async def _counted(self, path: str, metrics: MergedMetrics) -> tuple[int, bytes]:
        """A page of metrics."""
        if path == "/metrics":
            return 200, metrics.agent_page()
        if path == "/stats/prometheus":
            return 200, await metrics.page()
        try:
            return 200, await metrics.envoy()
        except (TimeoutError, OSError, EOFError) as error:
            return 503, f"Envoy's metrics: {error or 'no answer'}\n".encode()

    async def _probe(self, path: str) -> tuple[int, bytes]:
        prober = self._probers.get(path)
        if prober is None:
            return 404, b"no such probe\n"
        try:
            return await within(float(prober.get("timeoutSeconds") or 1), self._run(prober))
        except (TimeoutError, OSError, EOFError) as error:
            return 503, f"{error or 'context deadline exceeded'}\n".encode()

    async def _run(self, prober: dict[str, Any]) -> tuple[int, bytes]:
        ((kind, action),) = [(kind, prober[kind]) for kind in ("httpGet", "tcpSocket", "grpc") if kind in prober]
        port = int(action.get("port") or 0)
        if kind == "httpGet":
            code = await probes.http_status(self._netns_fd, self._address, port, action)
            return (200 if 200 <= code < 400 else code or 503), b""
        if kind == "grpc":
            passed, why = await probes.grpc(self._netns_fd, self._address, port, action)
            return (200 if passed else 503), why.encode()
        await probes.tcp(self._netns_fd, self._address, port, action)
        return 200, b""

    async def _fetch(self, port: int, path: str) -> tuple[int, bytes]:
        sock = await socket_in(self._netns_fd, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(http1.request("GET", path))
            return http1.parse(await reader.read())
        finally:
            writer.close()

    async def _get(self, port: int, path: str, limit_s: float) -> tuple[int, bytes]:
        """(status, body) of a page of Envoy; status 0 if there is none."""
        try:
            return await within(limit_s, self._fetch(port, path))
        except (TimeoutError, OSError):
            return 0, b""


def _local(writer: asyncio.StreamWriter) -> bool:
    """Whether a client is in the pod: it connects from the address that it connects to, or over the loopback. Envoy passes on what comes
    from outside from 127.0.0.6."""
    own, other = (writer.get_extra_info(name) for name in ("sockname", "peername"))
    return bool(own and other) and other[0] in (own[0], "127.0.0.1")


def _accepts_gzip(head: bytes) -> bool:
    return _GZIP.search(head) is not None


def _probers(pod: dict[str, Any]) -> dict[str, Any]:
    spec = pod["spec"]
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        if container.get("name") == _PROXY:
            for variable in container.get("env", ()):
                if variable.get("name") == "ISTIO_KUBE_APP_PROBERS":
                    return _parsed(str(variable.get("value") or "{}"))
    return {}


def _parsed(text: str) -> dict[str, Any]:
    """The probes of the variable, by path; empty if it is not what the injector writes."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict) and all(isinstance(p, dict) for p in data.values()):
        return data
    log.warning("ISTIO_KUBE_APP_PROBERS is not understood: probes that were rewritten to the agent will fail")
    return {}
