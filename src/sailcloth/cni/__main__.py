"""The process of the DaemonSet, the command `install-cni`: keeps the plugin installed, answers it, and mends pods that it has missed.

On SIGTERM the plugin is taken out, so that pods start when the DaemonSet is gone. While the DaemonSet is there, its pod is only replaced:
then the plugin stays, and pods of the mesh wait for the next process rather than start without capture.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from aiohttp import web

from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import DAEMONSETS

from . import chaining
from .host import Host
from .repair import Repair, Repairer
from .server import Server

log = logging.getLogger(__name__)
_PROGRAM = Path("/opt/cni/bin/istio-cni")  # in the image
_BIN, _CONF = Path("/host/opt/cni/bin"), Path("/host/etc/cni/net.d")
_RUN = Path("/var/run/istio-cni")
_PORT = 8000
_NAME = "istio-cni-node"
_LAST_S = 5.0  # for the question whether the DaemonSet is there


def _repair(environment: Mapping[str, str]) -> Repair | None:
    """What the ConfigMap says; None if nothing is repaired."""

    def yes(name: str) -> bool:
        return environment.get(f"REPAIR_{name}", "").lower() == "true"

    get, default = environment.get, Repair()
    if not yes("ENABLED"):
        return None
    return Repair(
        yes("DELETE_PODS"),
        yes("LABEL_PODS"),
        yes("REPAIR_PODS"),
        get("REPAIR_INIT_CONTAINER_NAME") or default.container,
        get("REPAIR_BROKEN_POD_LABEL_KEY") or default.key,
        get("REPAIR_BROKEN_POD_LABEL_VALUE") or default.value,
    )


async def _run(environment: Mapping[str, str], client: Client) -> None:
    namespace, node = environment["POD_NAMESPACE"], environment["NODE_NAME"]
    excluded = json.loads(environment.get("EXCLUDE_NAMESPACES") or "[]")
    namespaces = Path(environment.get("CNI_NETNS_DIR") or "/var/run/netns")
    how = _repair(environment)
    host = Host(_CONF, _BIN, _PROGRAM, chaining.entry(excluded, namespace, str(_RUN)))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    container = how.container if how else Repair.container
    async with Server(client, namespaces, container).serving(_RUN / "pluginevent.sock"), _probes(host):
        tasks = [asyncio.create_task(host.keep_installed())]
        if how is not None:
            tasks.append(asyncio.create_task(Repairer(client, node, namespaces, how).run()))
        ended = asyncio.create_task(stopped.wait())
        await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, ended):
            task.cancel()
        failures = [r for r in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(r, Exception)]
        if failures:
            raise failures[0]
        if await _is_replaced(client, namespace):
            log.info("the DaemonSet goes on: the plugin stays")
        else:
            await asyncio.to_thread(host.remove)
            log.info("the plugin is removed")


async def _is_replaced(client: Client, namespace: str) -> bool:
    """Whether the DaemonSet is there, so that another pod takes over. Without an answer it is taken for gone: pods of the mesh whose
    traffic nobody captures do not start, and all others do."""
    try:
        async with asyncio.timeout(_LAST_S):
            found = await client.get(DAEMONSETS, _NAME, namespace)
    except (ApiError, OSError) as error:
        status = error.status if isinstance(error, ApiError) else 0
        log.info("the DaemonSet is taken for gone (status %d): %s", status, error)
        return False
    return "deletionTimestamp" not in found["metadata"]


@contextlib.asynccontextmanager
async def _probes(host: Host) -> AsyncIterator[None]:
    """Serve `/readyz` and `/healthz` to the kubelet."""

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=503 if host.problem else 200, text=host.problem or "ok")

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application()
    application.router.add_get("/readyz", ready)
    application.router.add_get("/healthz", alive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, _PORT).start()
        yield
    finally:
        await runner.cleanup()


def main(_: list[str]) -> int:
    """Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s")

    async def whole() -> None:
        async with Client.in_cluster() as client:
            await _run(os.environ, client)

    try:
        asyncio.run(whole())
    except (OSError, ValueError) as error:
        print(f"install-cni: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
