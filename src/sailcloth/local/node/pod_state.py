"""The state of one pod and of its containers, shared by the modules that act on it. It decides nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from sailcloth.agent.protocol import NodeAgent
from sailcloth.kube import Client
from sailcloth.local import zygote
from sailcloth.local.cgroups import Groups
from sailcloth.local.images.catalog import Catalog

from . import service_account
from .host_ports import Relay
from .sandbox_client import SandboxClient

Object = dict[str, Any]
BACKOFF = (0.2, 300.0)  # of the second restart, and of the last
PROXY = "istio-proxy"


class Node(Protocol):
    """What pod workers need of their node."""

    client: Client
    agent: NodeAgent
    zygote: str
    pods_dir: Path
    logs_dir: Path
    host_ports: dict[int, int]
    bind_swap: bool
    load_balancers: str
    """The range of their addresses on the host's loopback."""
    images: Catalog
    service_env: dict[str, str]
    masked_paths: list[str]
    groups: Groups
    allow_privileged: bool
    proxy_user: int
    """The user of proxies inside their pods."""
    many_users: bool
    """Whether pods have users of the host of their own, so that several of them differ."""

    def give(self, path: str, uid: int) -> None:
        """Give a file on disk to a user of the pods."""

    def allocate(self, uid: str, wanted: str) -> str: ...
    def release(self, uid: str) -> None: ...
    async def event(self, pod: Object, kind: str, reason: str, text: str, container: str = "") -> None: ...
    def pod_addresses_changed(self) -> None: ...


def timestamp(seconds: float | None = None) -> str:
    """A time (default: now) as metav1.Time writes it."""
    moment = dt.datetime.fromtimestamp(time.time() if seconds is None else seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """The state of one container."""

    def __init__(self, spec: Object, init: bool, ephemeral: bool = False) -> None:
        self.spec, self.init, self.ephemeral = spec, init, ephemeral
        self.name = str(spec["name"])
        self.sidecar = init and spec.get("restartPolicy") == "Always"
        self.relay: Relay | None = None
        self.relayed_ports: tuple[int, ...] = ()  # host ports that are relayed because --no-bind-swap asks for it
        self.running = False
        self.started = False
        self.ready = False
        self.ready_before = (
            False  # ready because the last run was: its sockets are held, and the new run is not ready yet
        )
        self.sockets_held = False  # the sockets that it listens on outlive its process
        self.restarts = 0
        self.state: Object = {"waiting": {"reason": "PodInitializing"}}
        self.last_state: Object = {}
        self.backoff_s = 0.0  # before the next restart
        self.completed = asyncio.Event()  # terminated, and not restarted
        self.exited = asyncio.Event()  # the current run has ended
        self.startup_passed = asyncio.Event()  # running, and the startup probe has succeeded
        self.post_start_done = asyncio.Event()  # postStart has returned, or the container has exited
        self.probing: list[asyncio.Task[None]] = []
        self.restart_task: asyncio.Task[Any] | None = (
            None  # waits for the back-off; nothing else may start the container meanwhile
        )
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.cwd = str(spec.get("workingDir") or "/")
        self.stop_signal = "SIGTERM"

    @property
    def startable(self) -> bool:
        return not self.running and not self.completed.is_set() and self.restart_task is None

    @property
    def exit_code(self) -> int:
        return int((self.state.get("terminated") or {}).get("exitCode") or 0)

    def reset(self) -> None:
        """Clear what is true only of a running container."""
        self.close_relay()
        self.running = self.ready = self.ready_before = self.started = False
        self.startup_passed.clear()
        for task in self.probing:
            task.cancel()
        self.probing.clear()

    def close_relay(self) -> None:
        if self.relay is not None:
            self.relay.close()
            self.relay = None

    def cancel_restart(self) -> None:
        if self.restart_task is not None:
            self.restart_task.cancel()
            self.restart_task = None


class PodState:
    """One pod on the node."""

    def __init__(self, node: Node, obj: Object) -> None:
        self.node, self.object = node, obj
        metadata = obj["metadata"]
        self.uid = str(metadata["uid"])
        self.name, self.namespace = str(metadata["name"]), str(metadata["namespace"])
        self.directory = node.pods_dir / self.uid[:12]
        self.ip = ""
        self.containers = [
            *(Container(c, True) for c in obj["spec"].get("initContainers") or ()),
            *(Container(c, False) for c in obj["spec"]["containers"]),
        ]
        if not obj["spec"].get("initContainers"):  # no init containers to wait for
            for c in self.containers:
                c.state = {"waiting": {"reason": "ContainerCreating"}}
        self.add_ephemeral_containers()
        self.sandbox: SandboxClient | None = None
        self.phase = "Pending"
        self.initialized = False
        self.volumes: dict[str, str] = {}  # host paths of the volumes, by name
        self.has_token = False  # the service account's token is mounted
        self.known = asyncio.Event()  # what runs is known; before that the status says nothing
        self.stopping = asyncio.Event()
        self.deleted = asyncio.Event()  # the object is deleted: there is no status to write
        self.changed = asyncio.Event()  # the status differs from the one last written
        self.scheduled = str((obj.get("status") or {}).get("startTime") or timestamp())
        self.reason = self.message = ""  # set when the pod failed as a whole, such as DeadlineExceeded
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def spec(self) -> Object:
        return self.object["spec"]  # type: ignore[no-any-return]

    @property
    def object_with_token(self) -> Object:
        """The object with the volume of its token."""
        return service_account.add_volume(self.object) if self.has_token else self.object

    @property
    def finished(self) -> bool:
        """Whether the phase is final."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def init_path(self) -> str:
        return str(self.directory / zygote.SOCKET)

    @property
    def app_containers(self) -> list[Container]:
        """The containers of `spec.containers`."""
        return [c for c in self.containers if not c.init and not c.ephemeral]

    def add_ephemeral_containers(self) -> list[Container]:
        """Add containers for new entries of `spec.ephemeralContainers`. Returns them."""
        given = self.spec.get("ephemeralContainers") or ()
        new = [Container(c, False, ephemeral=True) for c in given if self.container(c["name"]) is None]
        self.containers += new
        return new

    def log_path(self, c: Container) -> str:
        """The log of a container's current run."""
        return str(self.node.logs_dir / f"{self.namespace}_{self.name}_{self.uid}" / c.name / f"{c.restarts}.log")

    def container(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    async def event(self, kind: str, reason: str, text: str, container: str = "") -> None:
        await self.node.event(self.object, kind, reason, text, container)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that is cancelled when the pod ends."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancel all tasks."""
        for task in [*self._tasks, *(t for c in self.containers for t in c.probing)]:
            task.cancel()
