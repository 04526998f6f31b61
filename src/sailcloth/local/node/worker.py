"""One pod's life on the node: set up, init containers, native sidecars, containers, restarts, probes, orderly end.

The state that matters is the pod's own (its PID 1 knows what runs) and the API server's; a new worker for a running pod finds
both and goes on. Source: the Kubernetes pod lifecycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from sailcloth.agent.protocol import NodeAgent
from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import CONFIGMAPS, PODS, SECRETS
from sailcloth.local import capture, images, network, zygote
from sailcloth.local.images.catalog import Catalog

from . import environment, leftovers, podlink, probes, volumes
from .environment import Missing
from .hostports import Relay
from .podlink import Event, PodLink

log = logging.getLogger(__name__)

Object = dict[str, Any]
_BACKOFF = (0.2, 300.0)
_STEADY_S = 600.0
_TOKENS_S = 60.0  # how often it is looked whether tokens are too old
_LISTEN_S = 3.0  # how long a program may take to open its ports before it is called ready without
_FAST_STARTUP_S = (
    2.0  # start-up and readiness probes are tried every 50 ms for this long before their own period counts
)
_BASE_ENV = {
    "PATH": images.PATH,
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


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

    def allocate(self, uid: str, wanted: str) -> str: ...
    def release(self, uid: str) -> None: ...
    async def event(self, pod: Object, kind: str, reason: str, text: str, container: str = "") -> None: ...
    def address_changed(self) -> None: ...


class _Container:
    """What the node knows of one container."""

    def __init__(self, spec: Object, init: bool) -> None:
        self.spec, self.init = spec, init
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
        self.delay = _BACKOFF[0]
        self.done = asyncio.Event()  # ended for good
        self.ended = asyncio.Event()  # ended once
        self.live = asyncio.Event()  # started in the sense of its startup probe
        self.probing: list[asyncio.Task[None]] = []
        self.restarting: asyncio.Task[Any] | None = None  # waits for its back-off: nobody else may start it
        self.argv: list[str] = []
        self.env: dict[str, str] = {}

    @property
    def startable(self) -> bool:
        return not self.running and not self.done.is_set() and self.restarting is None

    @property
    def exit_code(self) -> int:
        return int((self.state.get("terminated") or {}).get("exitCode") or 0)

    def status(self) -> Object:
        out: Object = {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": f"sailcloth://{self.spec.get('image', '')}",
            "containerID": f"sailcloth://{self.name}/{self.restarts}",
            "ready": self.ready or (self.init and not self.sidecar and self.done.is_set()),
            "restartCount": self.restarts,
            "started": self.started,
            "state": self.state,
            "lastState": self.last,
        }
        return out


def _stamp(seconds: float | None = None) -> str:
    moment = dt.datetime.fromtimestamp(time.time() if seconds is None else seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Worker:
    """Runs one pod. `update` brings a new version of the object; `run` ends when the pod is gone."""

    def __init__(self, node: NodeServices, pod: Object) -> None:
        self.node, self.pod = node, pod
        metadata = pod["metadata"]
        self.uid = str(metadata["uid"])
        self.name, self.namespace = str(metadata["name"]), str(metadata["namespace"])
        self.directory = node.pods_dir / self.uid[:12]
        self.ip = ""
        self.containers = [
            *(_Container(c, True) for c in pod["spec"].get("initContainers") or ()),
            *(_Container(c, False) for c in pod["spec"]["containers"]),
        ]
        self.link: PodLink | None = None
        self.phase = "Pending"
        self.initialized = False
        self._volumes = volumes.Volumes(self.directory, self._fetch, self._token)
        self._folders: dict[str, str] = {}
        self._renew = asyncio.Event()
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._dirty = asyncio.Event()
        self._sent: Object = {}
        self._times: dict[str, tuple[str, str]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scheduled = _stamp()

    @property
    def init_path(self) -> str:
        return str(self.directory / zygote.SOCKET)

    def named(self, name: str) -> _Container | None:
        return next((c for c in self.containers if c.name == name), None)

    # -- outside --------------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """A new version of the object."""
        told = [p["metadata"].get(name) for p in (self.pod, pod) for name in ("labels", "annotations")]
        if told[:2] != told[2:]:
            self._renew.set()  # the downward API shows them
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._stopping.set()

    def object_changed(self, kind: str, namespace: str, name: str) -> None:
        """A ConfigMap or Secret is another, or there now, or gone."""
        if namespace == self.namespace and (kind, name) in volumes.referred(self.pod):
            self._renew.set()

    def vanish(self) -> None:
        """The object is gone from the API server: so must the processes be, at once."""
        self._gone.set()
        self._stopping.set()

    async def run(self) -> None:
        """Live the pod's life."""
        writer = asyncio.create_task(self._write_status())
        renewing = asyncio.create_task(self._keep_volumes())
        try:
            work = asyncio.create_task(self._live())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await self._stopping.wait()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await self._stop()
        finally:
            for task in [writer, renewing, *self._tasks, *(t for c in self.containers for t in c.probing)]:
                task.cancel()
        await self._remove()

    # -- start ----------------------------------------------------------------------------------

    async def _live(self) -> None:
        ended = self.pod.get("status", {}).get("phase")
        if ended in ("Succeeded", "Failed"):
            self.phase = ended
            return
        adopted = await self._adopt()
        if not adopted:
            self._count_earlier_runs()
        delay = 0.1
        while not adopted:
            try:
                await self._prepare()
                break
            except Missing as error:
                await self._wait_for(str(error))
                delay = min(delay * 1.5, 5.0)
                await asyncio.sleep(delay)
            except OSError as error:
                await self.node.event(
                    self.pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}"
                )
                delay = min(delay * 2, 30.0)
                await asyncio.sleep(delay)
        for c in self.containers:
            if c.init:
                await self._run_init(c)
                if c.done.is_set() and c.exit_code:  # it failed and may not try again
                    self._finish("Failed")
                    await self._stop_sidecars()
                    return
        self.initialized = True
        self.phase = "Running"
        self._dirty.set()
        await asyncio.gather(*(self._start(c) for c in self.containers if not c.init and c.startable))
        await asyncio.gather(*(c.done.wait() for c in self.containers if not c.init))
        self._finish("Failed" if any(c.exit_code for c in self.containers if not c.init) else "Succeeded")
        await self._stop_sidecars()
        self._dirty.set()

    def _finish(self, phase: str) -> None:
        """The pod's work is over: what ends from now on stays ended."""
        self.phase = phase
        for c in self.containers:
            if not c.running:
                self._drop_restart(c)
                c.done.set()
        self._dirty.set()

    @staticmethod
    def _drop_restart(c: _Container) -> None:
        if c.restarting is not None:
            c.restarting.cancel()
            c.restarting = None

    async def _adopt(self) -> bool:
        """Find a pod that runs already. Returns whether there is one."""
        if not os.path.exists(self.init_path):
            return False
        link = PodLink(self.init_path, self._on_event)
        try:
            state = await link.connect(0.5)
        except (OSError, TimeoutError):
            link.close()
            volumes.remove(self.directory)
            return False
        self.link = link
        self.ip = self.node.allocate(self.uid, self.pod.get("status", {}).get("podIP", ""))
        known = self._told()
        self._folders = volumes.places(self.pod, self.directory)
        self._renew.set()
        for c in self.containers:
            before, now = known.get(c.name, {}), state["containers"].get(c.name)
            c.restarts = int(before.get("restartCount", 0))
            c.last = before.get("lastState") or {}
            if c.init and not c.sidecar and (before.get("state") or {}).get("terminated", {}).get("exitCode") == 0:
                c.state = before["state"]
                c.done.set()
            elif now is not None and now.get("running"):
                self._now_running(c, float(now["started"]))
                self._relay_ports(c, now.get("relayed") or ())
                if c.spec["name"] == "istio-proxy":
                    await self._proxy(c)
                c.env = await self._environment(c)
                self._probe(c)
            elif now is not None:
                c.running = True
                self._ended(c, int(now.get("exit", 137)), float(now["started"]))
        return True

    def _told(self) -> dict[str, Object]:
        """What the API server was last told of each container."""
        status = self.pod.get("status", {})
        return {s["name"]: s for f in ("containerStatuses", "initContainerStatuses") for s in status.get(f) or ()}

    def _count_earlier_runs(self) -> None:
        """A pod that ran before this cluster was started runs again, as after the reboot of a machine."""
        for c in self.containers:
            before = self._told().get(c.name, {})
            if not c.restarts and "waiting" not in (before.get("state") or {"waiting": {}}):
                c.restarts = int(before.get("restartCount", 0)) + 1

    async def _prepare(self) -> None:
        """Network, folders, PID 1. Raises Missing or OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ip = self.node.allocate(self.uid, "")
        self._folders = await self._volumes.make(self.pod, self.ip, network.NODE_IP)
        self._write_etc()
        fd = await asyncio.to_thread(network.add_pod, self.ip)
        try:
            hostname = self.pod["spec"].get("hostname") or self.name
            await asyncio.to_thread(zygote.make_pod, self.node.zygote, str(self.directory), hostname[:63], fd)
        finally:
            os.close(fd)
        link = PodLink(self.init_path, self._on_event)
        await link.connect()
        self.link = link
        self.node.address_changed()
        self._dirty.set()

    def _write_etc(self) -> None:
        folder = self.directory / "etc"
        folder.mkdir(mode=0o755, exist_ok=True)
        domain = "cluster.local"
        hostname = self.pod["spec"].get("hostname") or self.name
        search = f"{self.namespace}.svc.{domain} svc.{domain} {domain}"
        aliases = "".join(
            f"{a['ip']} {' '.join(a.get('hostnames', ()))}\n" for a in self.pod["spec"].get("hostAliases") or ()
        )
        files = {
            "resolv.conf": f"search {search}\nnameserver {network.DNS_IP}\noptions ndots:5\n",
            "hosts": f"127.0.0.1 localhost\n::1 localhost\n{self.ip} {hostname}\n{aliases}",
            "hostname": hostname + "\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        }
        for name, text in files.items():
            (folder / name).write_text(text)

    async def _fetch(self, kind: str, name: str) -> Object | None:
        resource = CONFIGMAPS if kind == "configmaps" else SECRETS
        try:
            return await self.node.client.get(resource, name, self.namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise OSError(str(error)) from None

    async def _token(self, audiences: list[str], seconds: int) -> str:
        account = self.pod["spec"].get("serviceAccountName") or "default"
        try:
            return await self.node.client.create_token(account, self.namespace, audiences, seconds, self.pod)
        except ApiError as error:
            raise Missing(f"token of service account {account}: {error.message}") from None

    async def _keep_volumes(self) -> None:
        """Follow the objects that volumes are made from, and replace tokens in time."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renew.wait(), _TOKENS_S)
            changed = self._renew.is_set()
            self._renew.clear()
            if self._folders and (changed or self._volumes.stale(time.monotonic())):
                try:
                    await self._volumes.refresh(self.pod, self.ip, network.NODE_IP)
                except (Missing, OSError, ApiError) as error:
                    log.info("pod %s/%s: volumes stay as they are: %s", self.namespace, self.name, error)

    async def _wait_for(self, what: str) -> None:
        for c in self.containers:
            if not c.init:
                c.state = {"waiting": {"reason": "ContainerCreating", "message": what}}
        self._dirty.set()
        await self.node.event(self.pod, "Warning", "FailedMount", f"MountVolume.SetUp failed: {what}")

    # -- containers -----------------------------------------------------------------------------

    async def _run_init(self, c: _Container) -> None:
        if c.done.is_set():
            return
        if c.startable:
            await self._start(c)
        if c.sidecar:
            await c.live.wait()
        else:
            await c.done.wait()

    async def _start(self, c: _Container) -> None:
        """Start a container; trouble is shown in its state and tried again."""
        delay = 0.3
        while not self._stopping.is_set():
            try:
                if await self._builtin(c):
                    return
                request, fds = await self._request(c)
                assert self.link is not None
                if c.restarts == 0:
                    await self.node.event(
                        self.pod,
                        "Normal",
                        "Pulled",
                        f'Container image "{c.spec.get("image", "")}" already present on machine',
                        c.name,
                    )
                c.ended.clear()
                self.link.send(request, fds)
                return
            except _Unknown as error:
                c.state = {"waiting": {"reason": "ErrImagePull", "message": str(error)}}
                self._dirty.set()
                await self.node.event(self.pod, "Warning", "Failed", f"Failed to pull image: {error}", c.name)
                delay = min(delay * 4, 60.0)
                await self.node.images.changed(delay)
                continue
            except Missing as error:
                c.state = {"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}}
                self._dirty.set()
                delay = min(delay * 1.5, 10.0)
            except (OSError, ValueError, ApiError) as error:
                c.state = {"waiting": {"reason": "CreateContainerError", "message": str(error)}}
                self._dirty.set()
                await self.node.event(self.pod, "Warning", "Failed", f"Error: {error}", c.name)
                delay = min(delay * 2, 30.0)
            await asyncio.sleep(delay)

    async def _builtin(self, c: _Container) -> bool:
        """Init containers of the mesh that need no process: traffic capture."""
        args = [str(a) for a in c.spec.get("args") or ()]
        image = self.node.images.resolve(str(c.spec.get("image", "")))
        if image is None or image.builtin != "proxy" or not args or args[0] != "istio-iptables":
            return False
        assert self.link is not None
        if "--skip-rule-apply" not in args:
            given = {str(v["name"]): str(v.get("value", "")) for v in c.spec.get("env") or ()}
            wanted = capture.parse(args, given, (network.DNS_IP,))
            await asyncio.to_thread(network.apply_rules, self.link.netns_fd, capture.rules(wanted))
        now = _stamp()
        c.state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        c.done.set()
        self._dirty.set()
        return True

    async def _environment(self, c: _Container) -> dict[str, str]:
        own = await environment.build(self.pod, c.spec, self.ip, network.NODE_IP, self._fetch)
        image = self.node.images.resolve(str(c.spec.get("image", "")))
        services = self.node.service_env if self.pod["spec"].get("enableServiceLinks", True) else {}
        return {**_BASE_ENV, "HOSTNAME": self.name, **services, **(image.env if image else {}), **own}

    async def _proxy(self, c: _Container) -> list[str]:
        assert self.link is not None
        env = await self._environment(c)
        made = await self.node.agent.prepare(self.pod, c.spec, env, self.directory, self.link.netns_fd)
        c.env = {**env, **made.env}
        return made.argv

    async def _request(self, c: _Container) -> tuple[Object, list[int]]:
        reference = str(c.spec.get("image", ""))
        image = self.node.images.resolve(reference)
        if image is None:
            raise _Unknown(
                f'no local command stands for image "{reference}": give it one with '
                f"`sailctl image add {reference} COMMAND`, or use one of `sailctl image list`"
            )
        caps: list[int] = []
        ports: dict[int, int] = {}
        mounts: list[list[str]] = []
        if image.builtin == "proxy":
            argv = await self._proxy(c)
            caps = [12, 13]
            if (self.pod["metadata"].get("labels") or {}).get("istio") == "ingressgateway":
                ports = self.node.host_ports
        else:
            c.env = await self._environment(c)
            command = [environment.expand(str(x), c.env) for x in c.spec.get("command") or ()]
            args = [environment.expand(str(x), c.env) for x in c.spec.get("args") or ()]
            argv = images.argv(image, command, args)
            mounts = volumes.mounts(c.spec, self._folders, self.pod)
        if not argv:
            raise ValueError("the container has no command")
        c.argv = argv
        logs = self.node.logs_dir / f"{self.namespace}_{self.name}_{self.uid}" / c.name / f"{c.restarts}.log"
        scratch = self.directory / "scratch" / c.name
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        request = {
            "op": "start",
            "name": c.name,
            "argv": argv,
            "env": c.env,
            "cwd": c.spec.get("workingDir") or "/",
            "caps": caps,
            "mounts": mounts,
            "scratch": str(scratch),
            "log": str(logs),
            "stdin": bool(c.spec.get("stdin")),
            "tty": bool(c.spec.get("tty")),
            "ports": [str(p) for p in ports] if self.node.bind_swap else [],
        }
        c.unswapped = () if self.node.bind_swap else tuple(ports)
        return request, list(ports.values()) if self.node.bind_swap else []

    def _relay_ports(self, c: _Container, ports: Iterable[int]) -> None:
        """Carry the host's ports to a container whose sockets could not be swapped for them."""
        sockets = {p: self.node.host_ports[p] for p in ports if p in self.node.host_ports}
        if sockets:
            c.relay = Relay(self.ip, sockets)
            self._spawn(c.relay.start())
            self._spawn(
                self.node.event(
                    self.pod, "Warning", "HostPortRelayed", "host ports are relayed: the kernel allows no swap", c.name
                )
            )

    # -- events of the pod ----------------------------------------------------------------------

    def _on_event(self, event: Event | None) -> None:
        if event is None:
            self._lost()
            return
        c = self.named(str(event.get("name", "")))
        if c is None:
            return
        if event["event"] == "started":
            self._now_running(c, float(event["time"]))
            self._relay_ports(c, event.get("relayed") or c.unswapped)
            self._spawn(self.node.event(self.pod, "Normal", "Started", f"Started container {c.name}", c.name))
            self._probe(c)
        elif event["event"] == "exited" and c.running:
            self._ended(c, int(event["exit"]), float(event["started"]))
        elif event["event"] == "error":
            c.state = {"waiting": {"reason": "CreateContainerError", "message": str(event.get("text", ""))}}
            self._dirty.set()

    def _now_running(self, c: _Container, started: float) -> None:
        c.running = True
        c.state = {"running": {"startedAt": _stamp(started)}}
        if not c.spec.get("startupProbe"):
            c.started = True
            c.live.set()
            if not c.spec.get("readinessProbe"):
                c.probing.append(self._spawn(self._listening(c)))
        self._dirty.set()

    async def _listening(self, c: _Container) -> None:
        """Without a readiness probe: ready when the declared ports are open, so that no request comes too early. A program
        that opens them late or never is ready after `_LISTEN_S` all the same, as it would be on any other node."""
        ports = [p["containerPort"] for p in c.spec.get("ports") or () if p.get("protocol", "TCP") == "TCP"]
        end = time.monotonic() + _LISTEN_S
        while ports and c.running and self.link is not None and time.monotonic() < end:
            probe = {"tcpSocket": {"port": ports[0]}, "timeoutSeconds": 1}
            passed, _ = await probes.once(probe, c.spec, self.link.netns_fd, self.init_path, c.env)
            if passed:
                ports.pop(0)
            else:
                await asyncio.sleep(0.02)
        if c.running:
            c.ready = True
            self._dirty.set()

    def _ended(self, c: _Container, code: int, started: float) -> None:
        if c.relay is not None:
            c.relay.close()
            c.relay = None
        c.running = c.ready = c.started = False
        c.live.clear()
        for task in c.probing:
            task.cancel()
        c.probing.clear()
        ended: Object = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": _stamp(started),
            "finishedAt": _stamp(),
            "containerID": f"sailcloth://{c.name}/{c.restarts}",
        }
        c.state = {"terminated": ended}
        c.ended.set()
        self._dirty.set()
        policy = "Always" if c.sidecar else self.pod["spec"].get("restartPolicy", "Always")
        if c.init and not c.sidecar:
            again = code != 0 and policy != "Never"
        else:
            again = policy == "Always" or (policy == "OnFailure" and code != 0)
        if self._stopping.is_set() or self.phase in ("Succeeded", "Failed") or not again:
            c.done.set()
            return
        if time.time() - started > _STEADY_S:
            c.delay = _BACKOFF[0]
        c.restarting = self._spawn(self._restart(c, ended))

    async def _restart(self, c: _Container, ended: Object) -> None:
        c.last = {"terminated": ended}
        if c.delay > 1:
            text = f"back-off {c.delay:.0f}s restarting failed container={c.name} pod={self.name}_{self.namespace}({self.uid})"
            c.state = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
            self._dirty.set()
            await self.node.event(
                self.pod, "Warning", "BackOff", f"Back-off restarting failed container {c.name}", c.name
            )
        await asyncio.sleep(c.delay)
        c.delay = min(c.delay * 2, _BACKOFF[1])
        c.restarts += 1
        c.restarting = None
        await self._start(c)

    def _lost(self) -> None:
        """PID 1 is gone, and with it every process of the pod."""
        if self._stopping.is_set():
            return
        log.warning("%s/%s: the pod's processes are gone", self.namespace, self.name)
        for c in self.containers:
            self._drop_restart(c)
            if c.relay is not None:
                c.relay.close()
                c.relay = None
            if c.running:
                c.running = c.ready = c.started = False
                c.restarts += 1
        self.link = None
        self._spawn(self._again())

    async def _again(self) -> None:
        for c in self.containers:
            c.done.clear()
            c.live.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.init_path)
        await self.node.agent.forget(self.uid)
        await self._live()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- probes ---------------------------------------------------------------------------------

    def _probe(self, c: _Container) -> None:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if c.spec.get(kind):
                c.probing.append(asyncio.ensure_future(self._probe_loop(c, kind, c.spec[kind])))

    async def _probe_loop(self, c: _Container, kind: str, probe: Object) -> None:
        if kind != "startupProbe":
            await c.live.wait()
        delay = float(probe.get("initialDelaySeconds") or 0)
        if kind == "livenessProbe":
            await asyncio.sleep(delay)
        period = float(probe.get("periodSeconds") or 10)
        begin, failures, passes = time.monotonic(), 0, 0
        while c.running and self.link is not None:
            passed, why = await probes.once(probe, c.spec, self.link.netns_fd, self.init_path, c.env)
            if passed:
                failures, passes = 0, passes + 1
                if kind == "startupProbe":
                    c.started = True
                    c.live.set()
                    if not c.spec.get("readinessProbe"):
                        c.ready = True
                    self._dirty.set()
                    return
                if kind == "readinessProbe" and not c.ready and passes >= int(probe.get("successThreshold") or 1):
                    c.ready = True
                    self._dirty.set()
            else:
                passes, failures = 0, failures + 1
                # The initial delay spares a program that needs so long; one that is ready before need not wait it out.
                age = time.monotonic() - begin
                fast = kind != "livenessProbe" and not c.ready and age < max(_FAST_STARTUP_S, delay)
                if not fast:
                    word = kind.removesuffix("Probe").capitalize()
                    await self.node.event(self.pod, "Warning", "Unhealthy", f"{word} probe failed: {why}", c.name)
                if failures >= int(probe.get("failureThreshold") or 3) and not fast:
                    if kind == "readinessProbe":
                        if c.ready:
                            c.ready = False
                            self._dirty.set()
                    else:
                        text = f"Container {c.name} failed {word.lower()} probe, will be restarted"
                        await self.node.event(self.pod, "Normal", "Killing", text, c.name)
                        self._spawn(self._kill(c, float(probe.get("terminationGracePeriodSeconds") or self._grace())))
                        return
                if fast:
                    await asyncio.sleep(0.05 if age < _FAST_STARTUP_S else min(period, 1.0))
                    continue
            await asyncio.sleep(period)

    # -- end ------------------------------------------------------------------------------------

    def _grace(self) -> float:
        given = self.pod["metadata"].get("deletionGracePeriodSeconds")
        return float(self.pod["spec"].get("terminationGracePeriodSeconds", 30) if given is None else given)

    async def _kill(self, c: _Container, grace: float) -> None:
        if not c.running or self.link is None:
            return
        with contextlib.suppress(OSError):
            hook = ((c.spec.get("lifecycle") or {}).get("preStop") or {}).get("exec")
            if hook and c.name != "istio-proxy":
                await probes.once(
                    {"exec": hook, "timeoutSeconds": max(1, grace)}, c.spec, self.link.netns_fd, self.init_path, c.env
                )
            self.link.send({"op": "signal", "name": c.name, "signal": int(signal.SIGTERM)})
            try:
                await asyncio.wait_for(c.ended.wait(), grace)
            except TimeoutError:
                self.link.send({"op": "signal", "name": c.name, "signal": int(signal.SIGKILL)})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(c.ended.wait(), 2)

    async def _stop(self) -> None:
        """Applications first, their sidecar last, so that it serves their last requests."""
        if self.link is not None and not self._gone.is_set():
            grace = self._grace()
            end = time.monotonic() + grace
            for c in self.containers:
                c.ready = False
            self._dirty.set()
            await self.node.event(self.pod, "Normal", "Killing", f"Stopping container {self.containers[-1].name}")
            proxies = [c for c in self.containers if c.name == "istio-proxy" and c.running]
            draining = asyncio.ensure_future(self.node.agent.drain(self.uid, grace)) if proxies and grace > 1 else None
            others = [c for c in self.containers if not c.sidecar and c.name != "istio-proxy" and c.running]
            if proxies and others and grace > 2:
                await asyncio.sleep(0.5)  # clients of the mesh hear of the change before the application refuses them
            await asyncio.gather(*(self._kill(c, max(0.1, end - time.monotonic() - 1)) for c in others))
            if draining is not None and not others:
                await draining
            elif draining is not None:
                draining.cancel()
            await self._stop_sidecars(max(0.1, end - time.monotonic()))
        if self.link is None:  # it had ended before this node process began
            await leftovers.end(self.init_path)
            return
        with contextlib.suppress(OSError):
            self.link.send({"op": "shutdown"})

    async def _stop_sidecars(self, grace: float = 5.0) -> None:
        last = [c for c in self.containers if (c.sidecar or c.name == "istio-proxy") and c.running]
        await asyncio.gather(*(self._kill(c, min(grace, 5.0)) for c in reversed(last)))

    async def _remove(self) -> None:
        await self.node.agent.forget(self.uid)
        for c in self.containers:
            if c.relay is not None:
                c.relay.close()
        if self.link is not None:
            self.link.close()
        self.node.release(self.uid)
        volumes.remove(self.directory)
        volumes.remove(self.node.logs_dir / f"{self.namespace}_{self.name}_{self.uid}")
        self.node.address_changed()
        if not self._gone.is_set():
            for _ in range(20):
                try:
                    await self.node.client.delete(PODS, self.name, self.namespace, grace=0)
                    return
                except ApiError as error:
                    if error.status == 404:
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.5)

    # -- status ---------------------------------------------------------------------------------

    def _condition(self, kind: str, holds: bool, reason: str = "") -> Object:
        status = "True" if holds else "False"
        known = self._times.get(kind)
        if known is None or known[0] != status:
            known = self._times[kind] = (status, _stamp())
        out = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": known[1]}
        if reason and not holds:
            out["reason"] = reason
        return out

    def status(self) -> Object:
        """The pod's status as the API server is told."""
        own = [c for c in self.containers if not c.init]
        sidecars = [c for c in self.containers if c.sidecar]
        ready = self.initialized and all(c.ready for c in [*own, *sidecars]) and self.phase == "Running"
        ended = self.phase in ("Succeeded", "Failed")
        why = "PodCompleted" if ended else "ContainersNotReady"
        out: Object = {
            "phase": self.phase,
            "conditions": [
                self._condition("PodReadyToStartContainers", self.link is not None),
                self._condition("Initialized", self.initialized, "ContainersNotInitialized"),
                self._condition("Ready", ready, why),
                self._condition("ContainersReady", ready, why),
                self._condition("PodScheduled", True),
            ],
            "hostIP": network.NODE_IP,
            "hostIPs": [{"ip": network.NODE_IP}],
            "startTime": self._scheduled,
            "containerStatuses": [c.status() for c in own],
        }
        if self.ip:
            out |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        if any(c.init for c in self.containers):
            out["initContainerStatuses"] = [c.status() for c in self.containers if c.init]
        return out

    async def _write_status(self) -> None:
        delay = 0.1
        while True:
            await self._dirty.wait()
            await asyncio.sleep(0.005)
            self._dirty.clear()
            wanted = self.status()
            if wanted == self._sent:
                continue
            try:
                await self.node.client.patch(
                    PODS, self.name, self.namespace, {"status": wanted}, type="merge", sub="status"
                )
                self._sent, delay = wanted, 0.1
            except ApiError as error:
                if error.status == 404:
                    continue
                log.warning("%s/%s: status not written: %s", self.namespace, self.name, error)
            except OSError:
                self._dirty.set()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)


class _Unknown(Exception):
    """No local command stands for an image."""


async def run_in(worker: Worker, argv: list[str], container: str, fds: list[int], tty: bool) -> Any:
    """A command in a container's environment, for kubectl exec. Raises OSError."""
    c = worker.named(container)
    if c is None or not c.running:
        raise OSError(f"container {container} is not running")
    env = {**c.env, "TERM": "xterm"} if tty else c.env
    image = worker.node.images.resolve(str(c.spec.get("image", "")))
    argv = images.command_line(image, argv) if image is not None else argv
    return await podlink.execute(
        worker.init_path, argv, env, fds, tty, container=c.name, cwd=str(c.spec.get("workingDir") or "/")
    )
