"""What the node knows of one pod and of each of its containers, for the parts that work on them.

It holds, and decides nothing: `worker` lives the pod's life, `starting`, `probing` and `ending` act, `podstatus` tells.
"""

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

from .hostports import Relay
from .podlink import PodLink

Object = dict[str, Any]
BACKOFF = (0.2, 300.0)
PROXY = "istio-proxy"


class NodeServices(Protocol):
    """What a worker needs of its node."""

    client: Client
    agent: NodeAgent
    zygote: str
    pods_dir: Path
    logs_dir: Path
    host_ports: dict[int, int]
    bind_swap: bool
    images: Catalog
    service_env: dict[str, str]
    hidden: list[str]
    groups: Groups

    def allocate(self, uid: str, wanted: str) -> str: ...
    def release(self, uid: str) -> None: ...
    async def event(self, pod: Object, kind: str, reason: str, text: str, container: str = "") -> None: ...
    def address_changed(self) -> None: ...


def stamp(seconds: float | None = None) -> str:
    """A moment, now if none is given, as Kubernetes writes it."""
    moment = dt.datetime.fromtimestamp(time.time() if seconds is None else seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """What the node knows of one container."""

    def __init__(self, spec: Object, init: bool, ephemeral: bool = False) -> None:
        self.spec, self.init, self.ephemeral = spec, init, ephemeral
        self.name = str(spec["name"])
        self.sidecar = init and spec.get("restartPolicy") == "Always"
        self.relay: Relay | None = None
        self.unswapped: tuple[int, ...] = ()  # host ports that are relayed because swapping them is turned off
        self.running = False
        self.started = False
        self.ready = False
        self.restarts = 0
        self.state: Object = {"waiting": {"reason": "PodInitializing"}}
        self.last: Object = {}
        self.delay = BACKOFF[0]
        self.done = asyncio.Event()  # ended for good
        self.ended = asyncio.Event()  # ended once
        self.live = asyncio.Event()  # started in the sense of its startup probe
        self.settled = asyncio.Event()  # its start is over, hook and all, or it ended before
        self.probing: list[asyncio.Task[None]] = []
        self.restarting: asyncio.Task[Any] | None = None  # waits for its back-off: nobody else may start it
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.cwd = str(spec.get("workingDir") or "/")
        self.stop_signal = "SIGTERM"

    @property
    def startable(self) -> bool:
        return not self.running and not self.done.is_set() and self.restarting is None

    @property
    def exit_code(self) -> int:
        return int((self.state.get("terminated") or {}).get("exitCode") or 0)

    def now_ended(self) -> None:
        """Forget what held only while it ran."""
        self.close_relay()
        self.running = self.ready = self.started = False
        self.live.clear()
        for task in self.probing:
            task.cancel()
        self.probing.clear()

    def close_relay(self) -> None:
        if self.relay is not None:
            self.relay.close()
            self.relay = None

    def drop_restart(self) -> None:
        if self.restarting is not None:
            self.restarting.cancel()
            self.restarting = None


class PodState:
    """One pod on the node."""

    def __init__(self, node: NodeServices, obj: Object) -> None:
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
        if not obj["spec"].get("initContainers"):  # nothing has to be over first
            for c in self.containers:
                c.state = {"waiting": {"reason": "ContainerCreating"}}
        self.join()
        self.link: PodLink | None = None
        self.phase = "Pending"
        self.initialized = False
        self.folders: dict[str, str] = {}  # of volumes, by name
        self.stopping = asyncio.Event()
        self.gone = asyncio.Event()  # the object is no more: nobody is to be told anything
        self.changed = asyncio.Event()  # the status is not the one that was told last
        self.scheduled = str((obj.get("status") or {}).get("startTime") or stamp())
        self.reason = self.message = ""  # why the pod as a whole failed, if not by its containers
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def spec(self) -> Object:
        return self.object["spec"]  # type: ignore[no-any-return]

    @property
    def over(self) -> bool:
        """Whether its work is done, or given up: the verdict stands, and nothing runs any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def init_path(self) -> str:
        return str(self.directory / zygote.SOCKET)

    @property
    def own(self) -> list[Container]:
        """The containers that are the pod's work: neither init containers nor somebody's who looks at it."""
        return [c for c in self.containers if not c.init and not c.ephemeral]

    def join(self) -> list[Container]:
        """Take in the ephemeral containers that the object has got since. Returns them."""
        given = self.spec.get("ephemeralContainers") or ()
        new = [Container(c, False, ephemeral=True) for c in given if self.named(c["name"]) is None]
        self.containers += new
        return new

    def named(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    async def event(self, kind: str, reason: str, text: str, container: str = "") -> None:
        await self.node.event(self.object, kind, reason, text, container)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start something that ends with the pod at the latest."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """End whatever was spawned."""
        for task in [*self._tasks, *(t for c in self.containers for t in c.probing)]:
            task.cancel()
