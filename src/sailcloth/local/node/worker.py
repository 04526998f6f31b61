"""One pod's life on the node: set up, init containers, native sidecars, containers, restarts, end.

The state that matters is the pod's own (its PID 1 knows what runs) and the API server's; a new worker for a running pod finds
both and goes on. Source: the Kubernetes pod lifecycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import time
from typing import Any

from sailcloth.kube import ApiError
from sailcloth.lib import namespaces as ns
from sailcloth.local import images, network

from . import ending, hooks, lastwords, podlink, podstatus, probing, starting, volumes
from .environment import Missing
from .podlink import Event, PodLink
from .podstate import BACKOFF, PROXY, Container, NodeServices, Object, PodState, stamp
from .starting import Unknown

log = logging.getLogger(__name__)

_STEADY_S = 600.0
_HOOK_S = 600.0  # no hook after a start takes longer
_TOKENS_S = 60.0  # how often it is looked whether tokens are too old


class Worker:
    """Runs one pod. `update` brings a new version of the object; `run` ends when the pod is gone."""

    def __init__(self, node: NodeServices, obj: Object) -> None:
        self.node = node
        self.pod = pod = PodState(node, obj)
        self._volumes = volumes.Volumes(
            pod.directory,
            lambda kind, name: starting.fetch(pod, kind, name),
            lambda audiences, seconds: starting.token(pod, audiences, seconds),
        )
        self._renew = asyncio.Event()
        self._up = False  # what is added can start; before that it starts with the pod
        self._adding: set[str] = set()  # ephemeral containers that are being started, or wait for their image

    # -- outside --------------------------------------------------------------------------------

    def update(self, obj: Object) -> None:
        """A new version of the object."""
        told = [p["metadata"].get(name) for p in (self.pod.object, obj) for name in ("labels", "annotations")]
        if told[:2] != told[2:]:
            self._renew.set()  # the downward API shows them
        self.pod.object = obj
        if self.pod.spec.get("readinessGates"):
            self.pod.changed.set()  # their conditions may have changed; the same status is not written twice
        for c in self.pod.join():
            if self._up:
                self._add(c)
        if obj["metadata"].get("deletionTimestamp"):
            self.pod.stopping.set()

    def object_changed(self, kind: str, namespace: str, name: str) -> None:
        """A ConfigMap or Secret is another, or there now, or gone."""
        if namespace == self.pod.namespace and (kind, name) in volumes.referred(self.pod.object):
            self._renew.set()

    def vanish(self) -> None:
        """The object is gone from the API server: so must the processes be, at once."""
        self.pod.gone.set()
        self.pod.stopping.set()

    async def run(self) -> None:
        """Live the pod's life."""
        pod = self.pod
        writer = asyncio.create_task(podstatus.Status(pod).write())
        renewing = asyncio.create_task(self._keep_volumes())
        try:
            work = asyncio.create_task(self._live())
            stop = asyncio.create_task(pod.stopping.wait())
            late = asyncio.create_task(self._deadline())
            await asyncio.wait({work, stop, late}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await pod.stopping.wait()
            work.cancel()
            if not late.done():
                late.cancel()
            elif not pod.stopping.is_set():
                await self._end_late()
                await pod.stopping.wait()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await ending.stop(pod)
        finally:
            writer.cancel()
            renewing.cancel()
            pod.cancel()
        await ending.remove(pod)

    async def _deadline(self) -> None:
        """Until the pod has been active for longer than it may."""
        limit = self.pod.spec.get("activeDeadlineSeconds")
        if limit is None:
            await asyncio.Event().wait()
        began = dt.datetime.fromisoformat(self.pod.scheduled.replace("Z", "+00:00"))
        await asyncio.sleep(float(limit or 0) - (dt.datetime.now(dt.UTC) - began).total_seconds())

    async def _end_late(self) -> None:
        pod = self.pod
        if pod.over:
            return
        pod.reason = "DeadlineExceeded"
        pod.message = "Pod was active on the node longer than the specified deadline"
        await pod.event("Normal", pod.reason, pod.message)
        self._finish("Failed")
        await asyncio.gather(*(ending.kill(pod, c, ending.grace(pod)) for c in ending.applications(pod)))
        await ending.stop_sidecars(pod)
        pod.changed.set()

    # -- start ----------------------------------------------------------------------------------

    async def _live(self) -> None:
        pod = self.pod
        ended = pod.object.get("status", {}).get("phase")
        if ended in ("Succeeded", "Failed"):
            pod.phase = ended
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
                await pod.event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
                delay = min(delay * 2, 30.0)
                await asyncio.sleep(delay)
        self._up = True
        for c in pod.containers:
            if c.ephemeral and c.startable:
                self._add(c)
        for c in pod.containers:
            if c.init:
                await self._run_init(c)
                if c.done.is_set() and c.exit_code:  # it failed and may not try again
                    self._finish("Failed")
                    await ending.stop_sidecars(pod)
                    return
        pod.initialized = True
        pod.phase = "Running"
        pod.changed.set()
        waiting = [c for c in pod.own if c.startable]
        if any(hooks.handler(c, "postStart") for c in waiting):
            for c in waiting:  # in order: one's hook may be what the next one waits for
                c.settled.clear()
                await self._start(c)
                await c.settled.wait()
        else:
            await asyncio.gather(*(self._start(c) for c in waiting))
        await asyncio.gather(*(c.done.wait() for c in pod.own))
        self._finish("Failed" if any(c.exit_code for c in pod.own) else "Succeeded")
        await ending.stop_sidecars(pod)
        pod.changed.set()

    def _finish(self, phase: str) -> None:
        """The pod's work is over: what ends from now on stays ended."""
        if not self.pod.over:
            self.pod.phase = phase
        for c in self.pod.containers:
            if not c.running:
                c.drop_restart()
                c.done.set()
        self.pod.changed.set()

    async def _adopt(self) -> bool:
        """Find a pod that runs already. Returns whether there is one."""
        pod = self.pod
        if not os.path.exists(pod.init_path):
            return False
        link = PodLink(pod.init_path, self._on_event)
        try:
            state = await link.connect(0.5)
        except (OSError, TimeoutError):
            link.close()
            volumes.remove(pod.directory)
            return False
        pod.link = link
        pod.ip = self.node.allocate(pod.uid, pod.object.get("status", {}).get("podIP", ""))
        known = podstatus.told(pod.object)
        pod.folders = volumes.places(pod.object, pod.directory)
        self._renew.set()
        for c in pod.containers:
            before, now = known.get(c.name, {}), state["containers"].get(c.name)
            c.restarts = int(before.get("restartCount", 0))
            c.last = before.get("lastState") or {}
            if c.init and not c.sidecar and (before.get("state") or {}).get("terminated", {}).get("exitCode") == 0:
                c.state = before["state"]
                c.done.set()
            elif now is not None and now.get("running"):
                c.running = True
                starting.relay_ports(pod, c, now.get("relayed") or ())
                if c.name == PROXY:
                    await starting.proxy(pod, c)
                else:
                    c.env = await starting.variables(pod, c)
                self._now_running(c, float(now["started"]))
            elif now is not None:
                c.running = True
                self._ended(c, int(now.get("exit", 137)), float(now["started"]), now.get("finished"))
        return True

    def _count_earlier_runs(self) -> None:
        """A pod that ran before this cluster was started runs again, as after the reboot of a machine."""
        told = podstatus.told(self.pod.object)
        for c in self.pod.containers:
            before = told.get(c.name, {})
            if c.ephemeral:
                if "waiting" not in (before.get("state") or {"waiting": {}}):
                    self._over(c, before["state"].get("terminated"))
                continue
            if not c.restarts and "waiting" not in (before.get("state") or {"waiting": {}}):
                c.restarts = int(before.get("restartCount", 0)) + 1

    def _over(self, c: Container, ended: Object | None = None) -> None:
        """An ephemeral container does not run again."""
        now = stamp()
        lost = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": now, "finishedAt": now}
        c.state = {"terminated": ended or lost}
        c.done.set()
        self.pod.changed.set()

    async def _prepare(self) -> None:
        """Network, folders, PID 1. Raises Missing or OSError."""
        pod = self.pod
        pod.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        pod.ip = self.node.allocate(pod.uid, "")
        pod.folders = await self._volumes.make(pod.object, pod.ip, network.NODE_IP)
        await starting.sandbox(pod)
        link = PodLink(pod.init_path, self._on_event)
        await link.connect()
        pod.link = link
        self.node.address_changed()
        pod.changed.set()

    async def _keep_volumes(self) -> None:
        """Follow the objects that volumes are made from, and replace tokens in time."""
        pod = self.pod
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renew.wait(), _TOKENS_S)
            changed = self._renew.is_set()
            self._renew.clear()
            if pod.folders and (changed or self._volumes.stale(time.monotonic())):
                try:
                    await self._volumes.refresh(pod.object, pod.ip, network.NODE_IP)
                except (Missing, OSError, ApiError) as error:
                    log.info("pod %s/%s: volumes stay as they are: %s", pod.namespace, pod.name, error)

    async def _wait_for(self, what: str) -> None:
        for c in self.pod.own:
            c.state = {"waiting": {"reason": "ContainerCreating", "message": what}}
        self.pod.changed.set()
        await self.pod.event("Warning", "FailedMount", f"MountVolume.SetUp failed: {what}")

    # -- containers -----------------------------------------------------------------------------

    async def _run_init(self, c: Container) -> None:
        if c.done.is_set():
            return
        if c.startable:
            await self._start(c)
        if c.sidecar:
            await c.live.wait()
        else:
            await c.done.wait()

    def _add(self, c: Container) -> None:
        """Start an ephemeral container, once."""
        if c.name not in self._adding:
            self._adding.add(c.name)
            self.pod.spawn(self._start(c)).add_done_callback(lambda _: self._adding.discard(c.name))

    async def _start(self, c: Container) -> None:
        """Start a container; trouble is shown in its state and tried again."""
        pod, delay = self.pod, 0.3
        while not pod.stopping.is_set() and not pod.over:
            try:
                if await starting.builtin(pod, c):
                    return
                request, fds = await starting.request(pod, c)
                assert pod.link is not None
                if c.restarts == 0:
                    text = f'Container image "{c.spec.get("image", "")}" already present on machine'
                    await pod.event("Normal", "Pulled", text, c.name)
                c.ended.clear()
                with starting.groups(pod, c) as groups:
                    pod.link.send(request, [*fds, *groups])
                return
            except Unknown as error:
                self._waits(c, "ErrImagePull", str(error))
                await pod.event("Warning", "Failed", f"Failed to pull image: {error}", c.name)
                delay = min(delay * 4, 60.0)
                await self.node.images.changed(delay)
                continue
            except Missing as error:
                self._waits(c, "CreateContainerConfigError", str(error))
                delay = min(delay * 1.5, 10.0)
            except (OSError, ValueError, ApiError) as error:
                self._waits(c, "CreateContainerError", str(error))
                await pod.event("Warning", "Failed", f"Error: {error}", c.name)
                delay = min(delay * 2, 30.0)
            await asyncio.sleep(delay)

    def _waits(self, c: Container, reason: str, text: str) -> None:
        c.state = {"waiting": {"reason": reason, "message": text}}
        self.pod.changed.set()

    # -- events of the pod ----------------------------------------------------------------------

    def _on_event(self, event: Event | None) -> None:
        pod = self.pod
        if event is None:
            self._lost()
            return
        c = pod.named(str(event.get("name", "")))
        if c is None:
            return
        if event["event"] == "started":
            c.running = True
            starting.relay_ports(pod, c, event.get("relayed") or c.unswapped)
            pod.spawn(pod.event("Normal", "Started", f"Started container {c.name}", c.name))
            if pod.over:  # it was given up just when this one was asked for
                pod.spawn(ending.kill(pod, c, ending.grace(pod)))
            elif hooks.handler(c, "postStart"):
                pod.spawn(self._after_start(c, float(event["time"])))
            else:
                self._now_running(c, float(event["time"]))
        elif event["event"] == "exited" and c.running:
            self._ended(c, int(event["exit"]), float(event["started"]), event.get("time"))
        elif event["event"] == "error":
            self._waits(c, "CreateContainerError", str(event.get("text", "")))

    def _now_running(self, c: Container, began: float) -> None:
        c.state = {"running": {"startedAt": stamp(began)}}
        c.settled.set()
        self.pod.changed.set()
        probing.begin(self.pod, c)

    async def _after_start(self, c: Container, began: float) -> None:
        """The container counts as running once its hook is through; if that fails it is ended."""
        pod = self.pod
        failed = await hooks.run(pod, c, "postStart", _HOOK_S)
        if failed:
            await pod.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {failed}", c.name)
            await ending.kill(pod, c, ending.grace(pod))
        elif c.running:
            self._now_running(c, began)

    def _ended(self, c: Container, code: int, started: float, finished: float | None = None) -> None:
        pod = self.pod
        c.now_ended()
        run = starting.run_of(c)
        starved = code != 0 and pod.node.groups.ran_out_of_memory(pod.uid, run)
        pod.node.groups.remove(pod.uid, run)
        ended: Object = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "OOMKilled" if starved else "Error",
            "startedAt": stamp(started),
            "finishedAt": stamp(finished),
            "containerID": f"sailcloth://{c.name}/{c.restarts}",
        }
        message = lastwords.read(pod, c, code)
        if message:
            ended["message"] = message
        c.state = {"terminated": ended}
        c.ended.set()
        c.settled.set()
        pod.changed.set()
        policy = "Always" if c.sidecar else pod.spec.get("restartPolicy", "Always")
        if c.ephemeral:
            again = False
        elif c.init and not c.sidecar:
            again = code != 0 and policy != "Never"
        else:
            again = policy == "Always" or (policy == "OnFailure" and code != 0)
        if pod.stopping.is_set() or pod.over or not again:
            c.done.set()
            return
        if time.time() - started > _STEADY_S:
            c.delay = BACKOFF[0]
        c.restarting = pod.spawn(self._restart(c, ended))

    async def _restart(self, c: Container, ended: Object) -> None:
        pod = self.pod
        c.last = {"terminated": ended}
        if c.delay > 1:
            text = f"back-off {c.delay:.0f}s restarting failed container={c.name} pod={pod.name}_{pod.namespace}({pod.uid})"
            self._waits(c, "CrashLoopBackOff", text)
            await pod.event("Warning", "BackOff", f"Back-off restarting failed container {c.name}", c.name)
        await asyncio.sleep(c.delay)
        c.delay = min(c.delay * 2, BACKOFF[1])
        c.restarts += 1
        c.restarting = None
        await self._start(c)

    def _lost(self) -> None:
        """PID 1 is gone, and with it every process of the pod."""
        pod = self.pod
        if pod.stopping.is_set():
            return
        log.warning("%s/%s: the pod's processes are gone", pod.namespace, pod.name)
        for c in pod.containers:
            c.drop_restart()
            if c.running and c.ephemeral:
                self._over(c)
            elif c.running:
                c.restarts += 1
            c.now_ended()
        pod.link, self._up = None, False
        pod.spawn(self._again())

    async def _again(self) -> None:
        for c in self.pod.containers:
            if not c.ephemeral:
                c.done.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.pod.init_path)
        await self.node.agent.forget(self.pod.uid)
        await self._live()


async def run_in(worker: Worker, argv: list[str], container: str, fds: list[int], tty: bool) -> Any:
    """A command in a container's environment, for kubectl exec. Raises OSError."""
    c = worker.pod.named(container)
    if c is None or not c.running:
        raise OSError(f"container {container} is not running")
    env = {**c.env, "TERM": "xterm"} if tty else c.env
    image = worker.node.images.resolve(str(c.spec.get("image", "")))
    argv = images.command_line(image, argv) if image is not None else argv
    if argv[0].rpartition("/")[2] == "tar" and "".join(argv[1:2]).startswith("-x") and ns.one_user():
        argv = [argv[0], "--no-same-owner", *argv[1:]]  # kubectl cp: other owners have no number here
    return await podlink.execute(worker.pod.init_path, argv, env, fds, tty, container=c.name, cwd=c.cwd)
