"""Runs one probe: HTTP, TCP, exec or gRPC, from inside the pod's network, where no traffic is redirected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import Any

from sailcloth.agent.netns import socket_in
from sailcloth.lib.time_limit import within

from . import grpc_health, sandbox_client
from .pod_state import Container

Object = dict[str, Any]


async def probe(spec: Object, container: Container, netns_fd: int, init_path: str) -> tuple[bool, str]:
    """Run a probe or hook once, for at most `timeoutSeconds`. Returns whether it passed, and the failure message."""
    limit = float(spec.get("timeoutSeconds") or 1)
    try:
        if "httpGet" in spec:
            return await within(limit, _http(spec["httpGet"], container.spec, netns_fd))
        if "tcpSocket" in spec:
            port = _port(spec["tcpSocket"]["port"], container.spec)
            sock = await within(limit, socket_in(netns_fd, "127.0.0.1", port))
            sock.close()
            return True, ""
        if "grpc" in spec:
            return await within(limit, _grpc(spec["grpc"], netns_fd))
        if "exec" in spec:
            return await _exec(spec["exec"].get("command") or [], container, init_path, limit)
    except TimeoutError:
        return False, "context deadline exceeded"
    except (OSError, EOFError) as error:
        return False, getattr(error, "strerror", "") or str(error)
    return True, ""


def _port(port: Any, container: Object) -> int:
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    return next((int(p["containerPort"]) for p in container.get("ports") or () if p.get("name") == port), 0)


async def _http(action: Object, container: Object, netns_fd: int) -> tuple[bool, str]:
    port = _port(action["port"], container)
    secure = str(action.get("scheme", "HTTP")).upper() == "HTTPS"
    context: ssl.SSLContext | None = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as kubelet: probes do not verify
    sock = await socket_in(netns_fd, "127.0.0.1", port)
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="probe" if secure else None)
    try:
        headers = {"Host": f"127.0.0.1:{port}", "User-Agent": "kube-probe/1.32", "Accept": "*/*", "Connection": "close"}
        headers |= {h["name"]: h["value"] for h in action.get("httpHeaders") or ()}
        text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        writer.write(f"GET {action.get('path') or '/'} HTTP/1.1\r\n{text}\r\n".encode())
        line = (await reader.readline()).decode(errors="replace").split()
        code = int(line[1]) if len(line) > 1 and line[1].isdigit() else 0
        return 200 <= code < 400, f"HTTP probe failed with statuscode: {code}"
    finally:
        writer.close()


async def _grpc(action: Object, netns_fd: int) -> tuple[bool, str]:
    sock = await socket_in(netns_fd, "127.0.0.1", int(action["port"]))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        return await grpc_health.check(reader, writer, str(action.get("service") or ""))
    finally:
        writer.close()


async def _exec(command: list[str], container: Container, init_path: str, limit: float) -> tuple[bool, str]:
    null = os.open("/dev/null", os.O_RDWR)
    try:
        link, code = await sandbox_client.execute(
            init_path,
            command,
            container.env,
            [null, null, null],
            container=container.name,
            cwd=container.cwd,
        )
    finally:
        os.close(null)
    try:
        result = await within(limit, code)
    except TimeoutError:
        return False, "command timed out"
    finally:
        with contextlib.suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(link.fileno())
        link.close()
    return result == 0, f"command exited with {result}"
