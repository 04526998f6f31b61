"""The agent of one pod, the first process of its container istio-proxy: runs Envoy and serves it, as the node's agent does for many pods.

On SIGTERM Envoy drains before it ends; with `EXIT_ON_ZERO_ACTIVE_CONNECTIONS` until no connection is left. Everything that it knows of the pod
comes from variables and volumes that the injector writes (istio.md 2.19), never from an API server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .mounted_files import OwnFiles
from .netns import OwnSockets
from .node_agent import Agent, admin
from .protocol import PodFiles

log = logging.getLogger(__name__)

ROOTS = Path("/var/run/secrets/istio/root-cert.pem")
REVOCATIONS = Path("/var/run/secrets/istio/crl/ca-crl.pem")
TOKEN = Path("/var/run/secrets/tokens/istio-token")
HOME = Path("/etc/istio/proxy")
POD = Path("/etc/istio/pod")
_UID = "self"
_TOKEN_S = 60.0  # the kubelet writes a new token into the file long before the old one ends
_POLL_S = 5.0  # between looks at the mesh's roots, whose volume the kubelet renews once a minute
_ACTIVE_S = 1.0  # between looks at what is under way, while draining
_KILL_S = 5.0  # for Envoy to end after SIGTERM
_CONNECTIONS = "downstream_cx_active"
Object = dict[str, Any]


class PodAgent:
    """`run` starts Envoy and returns its exit code; `stop` and signals end it."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        """`arguments`: after `proxy`, `sidecar` or `router` first."""
        self._arguments, self._environment = arguments, dict(environment)
        self._pod = pod_object(self._environment)
        address = discovery_address(self._environment)
        self._agent = Agent(
            address,
            _read_roots,
            _read_token,
            server_name=address.rpartition(":")[0],
            mark=0,  # the capture tells the proxy by its user
            certificate_lifetime_s=0,
            revoked=_read_revocations,
            token_s=_TOKEN_S,
        )
        self._envoy: asyncio.subprocess.Process | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Raises OSError with the reason if the mesh's roots, the token or Envoy are not there."""
        files = PodFiles(HOME, Path("/etc/resolv.conf"), OwnFiles())
        container = {"name": "istio-proxy", "args": ["proxy", *self._arguments]}
        wanted = await self._agent.prepare(self._pod, container, self._environment, files, OwnSockets())
        self._agent.on_request(_UID, {"/drain": self.drain, "/quitquitquit": self.stop})
        self._envoy = await asyncio.create_subprocess_exec(*wanted.argv, env={**self._environment, **wanted.env})
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_soon)
        watching = asyncio.create_task(self._watch_roots())
        try:
            code = await self._envoy.wait()
        finally:
            watching.cancel()
            await self._agent.close()
        log.info("Envoy ended with %d", code)
        return code if code >= 0 else 128 - code

    async def drain(self) -> None:
        """Envoy tells its clients to go elsewhere; what is under way goes on."""
        await self._agent.start_draining(_UID)

    async def stop(self) -> None:
        """Drain, then end Envoy."""
        self._stop_soon()

    def _stop_soon(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        envoy = self._envoy
        if envoy is None or envoy.returncode is not None:
            return
        await self._agent.drain(_UID, float("inf"))
        if self._environment.get("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "").lower() == "true":
            await self._until_idle()
        with contextlib.suppress(ProcessLookupError):
            envoy.terminate()
            await asyncio.sleep(_KILL_S)
            envoy.kill()

    async def _until_idle(self) -> None:
        """Wait until no connection from outside is left. The kubelet's grace period is the limit."""
        while True:
            try:
                page = await admin(-1, "GET", f"/stats?usedonly&filter={_CONNECTIONS}$&format=json")
                values = json.loads(page).get("stats", ())
            except (OSError, ValueError):
                return  # Envoy has ended
            active = (s for s in values if not str(s.get("name", "")).startswith(("http.admin.", "listener.admin.")))
            if not any(s.get("value") for s in active):
                return
            await asyncio.sleep(_ACTIVE_S)

    async def _watch_roots(self) -> None:
        """Tell the agent when the mesh's roots are others."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await self._agent.roots_changed()
            except OSError as error:
                log.warning("the mesh's root certificates cannot be read: %s", error)


def discovery_address(environment: Mapping[str, str]) -> str:
    """Where the control plane is, as host:port."""
    try:
        options = json.loads(environment.get("PROXY_CONFIG") or "{}")
    except (ValueError, RecursionError):
        options = {}
    found = options.get("discoveryAddress") if isinstance(options, dict) else None
    return str(found or environment.get("CA_ADDR") or "istiod.istio-system.svc:15012")


def pod_object(environment: Mapping[str, str]) -> Object:
    """The pod, as far as variables and the downward API tell."""
    get = environment.get
    return {
        "metadata": {
            "name": get("POD_NAME", ""),
            "namespace": get("POD_NAMESPACE", "default"),
            "uid": _UID,
            "labels": _fields(POD / "labels"),
            "annotations": _fields(POD / "annotations"),
        },
        "spec": {
            "serviceAccountName": get("SERVICE_ACCOUNT", "default"),
            "containers": [{"name": "istio-proxy", "env": [{"name": k, "value": v} for k, v in environment.items()]}],
        },
        "status": {"podIP": get("INSTANCE_IP", "")},
    }


def _fields(path: Path) -> dict[str, str]:
    """A file of the downward API: a line `name="value"` for each label or annotation."""
    found: dict[str, str] = {}
    try:
        text = path.read_text()
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return found
    for line in text.splitlines():
        name, _, value = line.partition("=")
        with contextlib.suppress(ValueError):
            found[name] = str(json.loads(value))
    return found


async def _read_roots() -> bytes:
    return await asyncio.to_thread(ROOTS.read_bytes)


async def _read_revocations() -> bytes:
    try:
        return await asyncio.to_thread(REVOCATIONS.read_bytes)
    except FileNotFoundError:
        return b""


async def _read_token(_: Object) -> str:
    return (await asyncio.to_thread(TOKEN.read_text)).strip()
