"""Port 15020 of a pod: readiness, rewritten probes and hooks of the application, merged metrics.

The agent serves it through a socket in the pod's network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from sailcloth.lib import http1
from sailcloth.lib.time_limit import within

from .bootstrap import STATUS_PORT
from .netns import PodSockets, socket_in

log = logging.getLogger(__name__)

_PROXY = "istio-proxy"


class StatusServer:
    """A small HTTP/1.0 server: each request is one page."""

    def __init__(self, sockets: PodSockets, pod: dict[str, Any], agent_metrics: Callable[[], str] = str) -> None:
        """`agent_metrics` gives metrics of the agent, in Prometheus' text, to show behind Envoy's."""
        self._sockets, self._netns_fd, self._agent_metrics = sockets, sockets.netns_fd, agent_metrics
        self._probers = _probers(pod)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        try:
            created = self._sockets.bound(socket.SOCK_STREAM, "0.0.0.0", STATUS_PORT)
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
            line = await asyncio.wait_for(reader.readline(), 5)
            while (await asyncio.wait_for(reader.readline(), 5)).strip():
                pass
            parts = line.decode(errors="replace").split()
            code, body = await self._page(parts[1] if len(parts) > 1 else "/")
            head = f"HTTP/1.1 {code} {'OK' if code == 200 else 'Error'}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _page(self, path: str) -> tuple[int, bytes]:
        if path.startswith(("/app-health/", "/app-lifecycle/")):
            return await self._probe(path)
        if path == "/healthz/ready":
            return await self._get("127.0.0.1", 15021, "/healthz/ready", {}, 3)
        if path in ("/stats/prometheus", "/metrics"):
            code, body = await self._get("127.0.0.1", 15090, "/stats/prometheus", {}, 5)
            return code, body + self._agent_metrics().encode()
        return 404, b"not found\n"

    async def _probe(self, path: str) -> tuple[int, bytes]:
        prober = self._probers.get(path)
        if prober is None:
            return 404, b"no such probe\n"
        timeout = float(prober.get("timeoutSeconds") or 1)
        if "httpGet" in prober:
            http = prober["httpGet"]
            headers = {h["name"]: h["value"] for h in http.get("httpHeaders", ())}
            secure = str(http.get("scheme", "HTTP")).upper() == "HTTPS"
            code, _ = await self._get("127.0.0.1", int(http["port"]), http.get("path") or "/", headers, timeout, secure)
            return (200 if 200 <= code < 400 else 503 if code == 0 else code), b""
        port = int((prober.get("tcpSocket") or prober.get("grpc") or {}).get("port", 0))
        try:
            sock = await within(timeout, socket_in(self._netns_fd, "127.0.0.1", port))
        except (TimeoutError, OSError):
            return 503, b"connection refused\n"
        sock.close()
        return 200, b""

    async def _get(
        self, host: str, port: int, path: str, headers: dict[str, str], limit_s: float, secure: bool = False
    ) -> tuple[int, bytes]:
        async def fetch() -> tuple[int, bytes]:
            context: ssl.SSLContext | None = None
            if secure:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as kubelet: probes do not verify
            sock = await socket_in(self._netns_fd, host, port)
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=host if secure else None
            )
            try:
                lines = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.32", "Connection": "close", **headers}
                text = "".join(f"{k}: {v}\r\n" for k, v in lines.items())
                writer.write(f"GET {path} HTTP/1.1\r\n{text}\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
            return http1.parse(answer)

        try:
            return await within(limit_s, fetch())
        except (TimeoutError, OSError, ssl.SSLError):
            return 0, b""


def _probers(pod: dict[str, Any]) -> dict[str, Any]:
    spec = pod["spec"]
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        if container.get("name") == _PROXY:
            for variable in container.get("env", ()):
                if variable.get("name") == "ISTIO_KUBE_APP_PROBERS":
                    data: dict[str, Any] = json.loads(variable.get("value") or "{}")
                    return data
    return {}
