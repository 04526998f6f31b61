"""Starts the containers of one pod, follows their exits, and restarts them with a back-off as the restart policy says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from sailcloth.kube import ApiError

from . import container_config, hooks, probe_worker, termination, termination_message
from .container_config import ImageNotFound
from .environment import Missing
from .pod_state import BACKOFF, PROXY, Container, Object, PodState, timestamp
from .sandbox_client import Event

log = logging.getLogger(__name__)

_BACKOFF_RESET_S = 600.0  # a container that ran for so long starts again without a back-off
_RESUME_S = 10.0  # how long a restarted proxy may take until it is ready, and stays ready meanwhile
_POST_START_S = 600.0  # limit of a postStart hook


class Containers:
    """The containers of one pod. `on_event` takes the events of its PID 1; `on_sandbox_lost` is called when that is gone."""

    def __init__(self, pod: PodState, on_sandbox_lost: Callable[[], None]) -> None:
        self._pod, self._on_sandbox_lost = pod, on_sandbox_lost
        self._starting: set[str] = set()  # ephemeral containers that start, or wait for their image

    async def run_init(self, c: Container) -> None:
        if c.completed.is_set():
            return
        if c.startable:
            await self.start(c)
        if c.sidecar:
            await c.startup_passed.wait()
        else:
            await c.completed.wait()

    def add(self, c: Container) -> None:
        """Start an ephemeral container, once."""
        if c.name not in self._starting:
            self._starting.add(c.name)
            self._pod.spawn(self.start(c)).add_done_callback(lambda _: self._starting.discard(c.name))

    async def start(self, c: Container) -> None:
        """Start a container. A failure is shown in its state and retried."""
        pod, delay = self._pod, 0.3
        while not pod.stopping.is_set() and not pod.finished:
            try:
                if await container_config.run_builtin(pod, c):
                    return
                request, fds = await container_config.start_request(pod, c)
                assert pod.sandbox is not None
                if c.restarts == 0:
                    text = f'Container image "{c.spec.get("image", "")}" already present on machine'
                    await pod.event("Normal", "Pulled", text, c.name)
                c.exited.clear()
                with container_config.cgroups(pod, c) as groups:
                    pod.sandbox.send(request, [*fds, *groups])
                return
            except ImageNotFound as error:
                self._waiting(c, "ErrImagePull", str(error))
                await pod.event("Warning", "Failed", f"Failed to pull image: {error}", c.name)
                delay = min(delay * 4, 60.0)
                await self._pod.node.images.changed(delay)
                continue
            except Missing as error:
                self._waiting(c, "CreateContainerConfigError", str(error))
                delay = min(delay * 1.5, 10.0)
            except (OSError, ValueError, ApiError) as error:
                self._waiting(c, "CreateContainerError", str(error))
                await pod.event("Warning", "Failed", f"Error: {error}", c.name)
                delay = min(delay * 2, 30.0)
            await asyncio.sleep(delay)

    def _waiting(self, c: Container, reason: str, text: str) -> None:
        c.state = {"waiting": {"reason": reason, "message": text}}
        self._pod.changed.set()

    def on_event(self, event: Event | None) -> None:
        pod = self._pod
        if event is None:
            self._on_sandbox_lost()
            return
        c = pod.container(str(event.get("name", "")))
        if c is None:
            return
        if event["event"] == "started":
            c.running = True
            c.sockets_held = bool(event.get("held"))
            container_config.relay_ports(pod, c, event.get("relayed") or c.relayed_ports)
            pod.spawn(pod.event("Normal", "Started", f"Started container {c.name}", c.name))
            if pod.finished:  # the pod finished while the container started
                pod.spawn(termination.kill_container(pod, c, termination.grace_period(pod)))
            elif hooks.handler(c, "postStart"):
                pod.spawn(self._post_start(c, float(event["time"])))
            else:
                self.running(c, float(event["time"]))
        elif event["event"] == "exited" and c.running:
            self.exited(c, int(event["exit"]), float(event["started"]), event.get("time"))
        elif event["event"] == "error":
            self._waiting(c, "CreateContainerError", str(event.get("text", "")))

    def running(self, c: Container, began: float) -> None:
        c.state = {"running": {"startedAt": timestamp(began)}}
        c.post_start_done.set()
        self._pod.changed.set()
        probe_worker.start(self._pod, c)

    def adopt(self, c: Container, before: Object, now: Object | None) -> None:
        """Take over a container of a pod that runs: `before` is its status, `now` what the pod's PID 1 says of it. One whose
        run is that of the status stays started and ready as it was."""
        pod = self._pod
        c.restarts = int(before.get("restartCount", 0))
        c.last_state = before.get("lastState") or {}
        if c.init and not c.sidecar and (before.get("state") or {}).get("terminated", {}).get("exitCode") == 0:
            c.state = before["state"]
            c.completed.set()
        elif now is not None:
            run = int(Path(now["log"]).stem)
            c.running, c.sockets_held = True, bool(now.get("held"))
            same, was_ready = "running" in (before.get("state") or {}), bool(before.get("ready"))
            if run != c.restarts:  # it was restarted after the last status
                c.restarts, c.last_state, same = run, _ended(before), False
                if was_ready and c.sockets_held:
                    self._stay_ready(c)
            elif same:
                c.started, c.ready = bool(before.get("started")), was_ready
            if now.get("running"):
                c.state = {"running": {"startedAt": timestamp(float(now["started"]))}}
                if c.started:
                    c.startup_passed.set()
                c.post_start_done.set()
                container_config.relay_ports(pod, c, now.get("relayed") or ())
                c.probing.append(pod.spawn(self._resume(c)))
            else:
                self.exited(c, int(now.get("exit", 137)), float(now["started"]), now.get("finished"))

    async def _resume(self, c: Container) -> None:
        """Serve an adopted container as before: its proxy, its probes."""
        pod, delay = self._pod, 0.05
        while True:
            try:
                if c.name == PROXY:
                    await container_config.proxy_command(pod, c)
                else:
                    c.env = await container_config.environment_variables(pod, c)
                break
            except (Missing, OSError, ApiError) as error:
                log.info("%s/%s: container %s is not served yet: %s", pod.namespace, pod.name, c.name, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
        probe_worker.start(pod, c)

    async def _post_start(self, c: Container, began: float) -> None:
        """Run the postStart hook: the container is running afterwards, or is killed if the hook fails."""
        pod = self._pod
        failed = await hooks.run(pod, c, "postStart", _POST_START_S)
        if failed:
            await pod.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {failed}", c.name)
            await termination.kill_container(pod, c, termination.grace_period(pod))
        elif c.running:
            self.running(c, began)

    def exited(self, c: Container, code: int, started: float, finished: float | None = None) -> None:
        pod = self._pod
        held = c.sockets_held and c.ready and not c.ready_before
        c.reset()
        run = container_config.cgroup_name(c)
        starved = code != 0 and pod.node.groups.oom_killed(pod.uid, run)
        pod.node.groups.remove(pod.uid, run)
        ended: Object = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "OOMKilled" if starved else "Error",
            "startedAt": timestamp(started),
            "finishedAt": timestamp(finished),
            "containerID": f"sailcloth://{c.name}/{c.restarts}",
        }
        message = termination_message.read(pod, c, code)
        if message:
            ended["message"] = message
        c.state = {"terminated": ended}
        c.exited.set()
        c.post_start_done.set()
        pod.changed.set()
        policy = "Always" if c.sidecar else pod.spec.get("restartPolicy", "Always")
        if c.ephemeral:
            restart = False
        elif c.init and not c.sidecar:
            restart = code != 0 and policy != "Never"
        else:
            restart = policy == "Always" or (policy == "OnFailure" and code != 0)
        if pod.stopping.is_set() or pod.finished or not restart:
            c.completed.set()
            self._release(c)
            return
        if held or time.time() - started > _BACKOFF_RESET_S:
            c.backoff_s = 0.0
        if held:  # connections to it wait in its sockets
            self._stay_ready(c)
        else:
            self._release(c)
        c.restart_task = pod.spawn(self._restart(c, ended))

    def _stay_ready(self, c: Container) -> None:
        """Let a proxy that was ready stay so while it is restarted."""
        c.ready = c.ready_before = True
        c.probing.append(self._pod.spawn(self._end_unless_ready(c)))

    async def _end_unless_ready(self, c: Container) -> None:
        """End the readiness of a restarted proxy that is not ready in time."""
        await asyncio.sleep(_RESUME_S)
        if c.ready_before:
            c.ready = c.ready_before = False
            self._release(c)
            self._pod.changed.set()

    def _release(self, c: Container) -> None:
        """Hold no sockets of a container that does not run: connections are refused."""
        if c.sockets_held:
            termination.release_sockets(self._pod, c)

    async def _restart(self, c: Container, ended: Object) -> None:
        pod = self._pod
        c.last_state = {"terminated": ended}
        if c.backoff_s > 1:
            text = f"back-off {c.backoff_s:.0f}s restarting failed container={c.name} pod={pod.name}_{pod.namespace}({pod.uid})"
            self._waiting(c, "CrashLoopBackOff", text)
            await pod.event("Warning", "BackOff", f"Back-off restarting failed container {c.name}", c.name)
        await asyncio.sleep(c.backoff_s)
        c.backoff_s = min(max(c.backoff_s * 2, BACKOFF[0]), BACKOFF[1])
        c.restarts += 1
        c.restart_task = None
        await self.start(c)

    def ephemeral_exited(self, c: Container, ended: Object | None = None) -> None:
        """Set the final state of an ephemeral container, which is never restarted."""
        now = timestamp()
        lost = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": now, "finishedAt": now}
        c.state = {"terminated": ended or lost}
        c.completed.set()
        self._pod.changed.set()


def _ended(before: Object) -> Object:
    """The last state of a container that was restarted while no node process ran: nobody saw how it ended."""
    state = before.get("state") or {}
    if "terminated" in state:
        return state
    now = timestamp()
    began = (state.get("running") or {}).get("startedAt") or now
    ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": began, "finishedAt": now}
    return {"terminated": ended}
