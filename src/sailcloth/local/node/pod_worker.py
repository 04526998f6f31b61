"""The lifecycle of one pod: sandbox, init containers, native sidecars, containers, phase, termination.

The source of truth is the pod's PID 1 and the API server, so a worker can adopt a running pod. Source: the Kubernetes pod
lifecycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import time

from sailcloth.kube import ApiError
from sailcloth.local import network

from . import (
    container_config,
    garbage_collection,
    hooks,
    pod_status,
    sandbox,
    service_account,
    termination,
    volumes,
)
from .containers import Containers
from .environment import Missing
from .pod_state import Node, Object, PodState
from .sandbox_client import SandboxClient

log = logging.getLogger(__name__)

_ANSWER_S = 20.0  # for the PID 1 of a pod on a starved machine; one that is gone refuses the connection
_TOKENS_S = 60.0  # how often the age of tokens is checked


class PodWorker:
    """Runs one pod. `update` passes a new version of the object; `run` returns when the pod is gone."""

    def __init__(self, node: Node, obj: Object) -> None:
        self.node = node
        self.pod = pod = PodState(node, obj)
        self._volumes = volumes.Volumes(
            pod.directory,
            lambda kind, name: container_config.fetch(pod, kind, name),
            lambda audiences, seconds: container_config.token(pod, audiences, seconds),
            host_paths=node.allow_privileged,
        )
        self._renew = asyncio.Event()
        self._up = False  # new ephemeral containers can start; before that they start with the pod
        self._containers = Containers(pod, self._lost)

    # -- called by the kubelet ------------------------------------------------------------------

    def update(self, obj: Object) -> None:
        """A new version of the object."""
        told = [p["metadata"].get(name) for p in (self.pod.object, obj) for name in ("labels", "annotations")]
        if told[:2] != told[2:]:
            self._renew.set()  # downward API volumes contain them
        self.pod.object = obj
        if self.pod.spec.get("readinessGates"):
            self.pod.changed.set()  # their conditions may have changed; the same status is not written twice
        for c in self.pod.add_ephemeral_containers():
            if self._up:
                self._containers.add(c)
        if obj["metadata"].get("deletionTimestamp"):
            self.pod.stopping.set()

    def object_changed(self, kind: str, namespace: str, name: str) -> None:
        """Refresh volumes after a ConfigMap or Secret was added, changed or deleted."""
        if namespace == self.pod.namespace and (kind, name) in volumes.references(self.pod.object_with_token):
            self._renew.set()

    def delete(self) -> None:
        """Stop the processes of a pod whose object is deleted."""
        self.pod.deleted.set()
        self.pod.stopping.set()

    async def run(self) -> None:
        """Run the pod until it is gone."""
        pod = self.pod
        adopted = await self._adopt()
        pod.known.set()
        writer = asyncio.create_task(pod_status.StatusWriter(pod).write())
        renewing = asyncio.create_task(self._keep_volumes())
        try:
            work = asyncio.create_task(self._live(adopted))
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
            await termination.terminate(pod)
        finally:
            writer.cancel()
            renewing.cancel()
            pod.cancel()
        await termination.clean_up(pod)

    async def _deadline(self) -> None:
        """Return when activeDeadlineSeconds have passed."""
        limit = self.pod.spec.get("activeDeadlineSeconds")
        if limit is None:
            await asyncio.Event().wait()
        began = dt.datetime.fromisoformat(self.pod.scheduled.replace("Z", "+00:00"))
        await asyncio.sleep(float(limit or 0) - (dt.datetime.now(dt.UTC) - began).total_seconds())

    async def _end_late(self) -> None:
        pod = self.pod
        if pod.finished:
            return
        pod.reason = "DeadlineExceeded"
        pod.message = "Pod was active on the node longer than the specified deadline"
        await pod.event("Normal", pod.reason, pod.message)
        self._finish("Failed")
        await asyncio.gather(
            *(
                termination.kill_container(pod, c, termination.grace_period(pod))
                for c in termination.app_containers(pod)
            )
        )
        await termination.stop_sidecars(pod)
        pod.changed.set()

    # -- start ----------------------------------------------------------------------------------

    async def _live(self, adopted: bool) -> None:
        pod = self.pod
        if pod.finished:
            return
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
                self._containers.add(c)
        for c in pod.containers:
            if c.init:
                await self._containers.run_init(c)
                if c.completed.is_set() and c.exit_code:  # it failed and is not restarted
                    self._finish("Failed")
                    await termination.stop_sidecars(pod)
                    return
        pod.initialized = True
        pod.phase = "Running"
        pod.changed.set()
        waiting = [c for c in pod.app_containers if c.startable]
        if any(hooks.handler(c, "postStart") for c in waiting):
            for c in waiting:  # in order: kubelet starts the next one after the hook
                c.post_start_done.clear()
                await self._containers.start(c)
                await c.post_start_done.wait()
        else:
            await asyncio.gather(*(self._containers.start(c) for c in waiting))
        await asyncio.gather(*(c.completed.wait() for c in pod.app_containers))
        self._finish("Failed" if any(c.exit_code for c in pod.app_containers) else "Succeeded")
        await termination.stop_sidecars(pod)
        pod.changed.set()

    def _finish(self, phase: str) -> None:
        """Set the final phase; containers are not restarted any more."""
        if not self.pod.finished:
            self.pod.phase = phase
        for c in self.pod.containers:
            if not c.running:
                c.cancel_restart()
                c.completed.set()
        self.pod.changed.set()

    async def _adopt(self) -> bool:
        """Adopt a running pod as its status describes it. Returns whether there is one. Needs no API server."""
        pod = self.pod
        status = pod.object.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed"):
            pod.phase = status["phase"]
            return False
        if not os.path.exists(pod.init_path):
            return False
        address = sandbox.address(pod.directory)
        if not address:
            await garbage_collection.kill_sandbox(pod.init_path)
            volumes.remove(pod.directory)
            return False
        link = SandboxClient(pod.init_path, self._containers.on_event)
        try:
            state = await link.connect(0.5, _ANSWER_S)
        except (OSError, TimeoutError):
            link.close()
            volumes.remove(pod.directory)
            return False
        pod.sandbox = link
        pod.ip = self.node.allocate(pod.uid, address)
        pod.phase = status.get("phase") or "Pending"
        pod.initialized = any(
            c["type"] == "Initialized" and c.get("status") == "True" for c in status.get("conditions") or ()
        )
        pod.has_token = (pod.directory / "volumes" / service_account.NAME).is_dir()
        pod.volumes = volumes.paths(pod.object_with_token, pod.directory)
        self._renew.set()
        known = pod_status.container_statuses(pod.object)
        for c in pod.containers:
            self._containers.adopt(c, known.get(c.name, {}), state["containers"].get(c.name))
        return True

    def _count_earlier_runs(self) -> None:
        """Count a restart for each container that ran before the cluster was started, as after a reboot of the node."""
        told = pod_status.container_statuses(self.pod.object)
        for c in self.pod.containers:
            before = told.get(c.name, {})
            if c.ephemeral:
                if "waiting" not in (before.get("state") or {"waiting": {}}):
                    self._containers.ephemeral_exited(c, before["state"].get("terminated"))
                continue
            if not c.restarts and "waiting" not in (before.get("state") or {"waiting": {}}):
                c.restarts = int(before.get("restartCount", 0)) + 1

    async def _prepare(self) -> None:
        """Create directories, volumes and the sandbox. Raises Missing or OSError."""
        pod = self.pod
        pod.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        pod.ip = self.node.allocate(pod.uid, "")
        account = await container_config.fetch(pod, "serviceaccounts", pod.spec.get("serviceAccountName") or "default")
        pod.has_token = service_account.automounted(pod.object, account)
        pod.volumes = await self._volumes.make(pod.object_with_token, pod.ip, network.NODE_IP)
        await sandbox.create(pod)
        link = SandboxClient(pod.init_path, self._containers.on_event)
        await link.connect()
        pod.sandbox = link
        self.node.pod_addresses_changed()
        pod.changed.set()

    async def _keep_volumes(self) -> None:
        """Refresh volumes after changes of their sources, and service-account tokens before they expire."""
        pod = self.pod
        while True:
            with contextlib.suppress(TimeoutError):  # not `wait_for`, which may swallow a cancellation (Python 3.11)
                async with asyncio.timeout(_TOKENS_S):
                    await self._renew.wait()
            changed = self._renew.is_set()
            self._renew.clear()
            if pod.volumes and (changed or self._volumes.tokens_expire(time.monotonic())):
                try:
                    await self._volumes.refresh(pod.object_with_token, pod.ip, network.NODE_IP)
                except (Missing, OSError, ApiError) as error:
                    log.info("pod %s/%s: volumes are not refreshed: %s", pod.namespace, pod.name, error)

    async def _wait_for(self, what: str) -> None:
        for c in self.pod.app_containers:
            c.state = {"waiting": {"reason": "ContainerCreating", "message": what}}
        self.pod.changed.set()
        await self.pod.event("Warning", "FailedMount", f"MountVolume.SetUp failed: {what}")

    # -- containers -----------------------------------------------------------------------------

    # -- events of the pod ----------------------------------------------------------------------

    def _lost(self) -> None:
        """Handle the loss of PID 1, and with it of every process of the pod."""
        pod = self.pod
        if pod.stopping.is_set():
            return
        log.warning("%s/%s: the pod's PID 1 has exited", pod.namespace, pod.name)
        for c in pod.containers:
            c.cancel_restart()
            if c.running and c.ephemeral:
                self._containers.ephemeral_exited(c)
            elif c.running:
                c.restarts += 1
            c.reset()
        pod.sandbox, self._up = None, False
        pod.spawn(self._recreate_sandbox())

    async def _recreate_sandbox(self) -> None:
        for c in self.pod.containers:
            if not c.ephemeral:
                c.completed.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.pod.init_path)
        await self.node.agent.remove(self.pod.uid)
        await self._live(adopted=False)
