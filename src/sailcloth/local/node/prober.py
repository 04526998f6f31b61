"""Runs one probe: HTTP, TCP or gRPC from inside the pod's network, or a command in the container."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

from sailcloth.agent import probes
from sailcloth.lib.time_limit import within

from . import sandbox_client
from .pod_state import Container, PodState

Object = dict[str, Any]


async def probe(spec: Object, container: Container, pod: PodState) -> tuple[bool, str]:
    """Run a probe or hook once, for at most `timeoutSeconds`. Returns whether it passed, and the failure message. The pod must
    have a sandbox."""
    limit = float(spec.get("timeoutSeconds") or 1)
    netns_fd = pod.sandbox.netns_fd if pod.sandbox is not None else -1
    try:
        if "httpGet" in spec:
            action = spec["httpGet"]
            port = _port(action["port"], container.spec)
            code = await within(limit, probes.http_status(netns_fd, pod.ip, port, action))
            return 200 <= code < 400, f"HTTP probe failed with statuscode: {code}"
        if "tcpSocket" in spec:
            action = spec["tcpSocket"]
            await within(limit, probes.tcp(netns_fd, pod.ip, _port(action["port"], container.spec), action))
            return True, ""
        if "grpc" in spec:
            return await within(limit, probes.grpc(netns_fd, pod.ip, int(spec["grpc"]["port"]), spec["grpc"]))
        if "exec" in spec:
            return await _exec(spec["exec"].get("command") or [], container, pod.init_path, limit)
    except TimeoutError:
        return False, "context deadline exceeded"
    except (OSError, EOFError) as error:
        return False, getattr(error, "strerror", "") or str(error)
    return True, ""


def _port(port: Any, container: Object) -> int:
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    return next((int(p["containerPort"]) for p in container.get("ports") or () if p.get("name") == port), 0)


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
