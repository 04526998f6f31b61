"""Termination of containers and pods: preStop hooks, signals, grace periods, applications before their sidecars."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from sailcloth.kube import ApiError
from sailcloth.kube.resources import PODS

from . import garbage_collection, hooks, volumes
from .pod_state import PROXY, Container, PodState

_MINIMUM_GRACE_S = 2.0  # left to a container whose preStop hook took the whole grace period


def grace_period(pod: PodState) -> float:
    """The termination grace period in seconds."""
    given = pod.object["metadata"].get("deletionGracePeriodSeconds")
    return float(pod.spec.get("terminationGracePeriodSeconds", 30) if given is None else given)


async def kill_container(pod: PodState, c: Container, seconds: float) -> None:
    """Terminate a container: preStop hook, its stop signal, and SIGKILL after `seconds`."""
    if not c.running or pod.sandbox is None:
        return
    with contextlib.suppress(OSError):
        if hooks.handler(c, "preStop"):
            end = time.monotonic() + seconds
            failed = await hooks.run(pod, c, "preStop", max(1, seconds))
            if failed:
                await pod.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {failed}", c.name)
            seconds = max(_MINIMUM_GRACE_S, end - time.monotonic())
        pod.sandbox.send({"op": "signal", "name": c.name, "signal": int(_signal(c.stop_signal))})
        try:
            await asyncio.wait_for(c.exited.wait(), seconds)
        except TimeoutError:
            pod.sandbox.send({"op": "signal", "name": c.name, "signal": int(signal.SIGKILL)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(c.exited.wait(), 2)


def release_sockets(pod: PodState, c: Container) -> None:
    """Let the sockets that a container listens on end with its process."""
    c.sockets_held = False
    if pod.sandbox is not None:
        with contextlib.suppress(OSError):
            pod.sandbox.send({"op": "release", "name": c.name})


async def terminate(pod: PodState) -> None:
    """Terminate the pod: applications first, sidecars last, so that they serve the last requests."""
    if pod.sandbox is not None and not pod.deleted.is_set():
        seconds = grace_period(pod)
        end = time.monotonic() + seconds
        for c in pod.containers:
            c.ready = c.ready_before = False
            if c.sockets_held:
                release_sockets(pod, c)
        pod.changed.set()
        await pod.event("Normal", "Killing", f"Stopping container {pod.containers[-1].name}")
        proxies = [c for c in pod.containers if c.name == PROXY and c.running]
        draining = asyncio.ensure_future(pod.node.agent.drain(pod.uid, seconds)) if proxies and seconds > 1 else None
        others = app_containers(pod)
        if proxies and others and seconds > 2:
            await asyncio.sleep(0.5)  # proxies learn of the removed endpoint before the application stops accepting
        await asyncio.gather(*(kill_container(pod, c, max(0.1, end - time.monotonic() - 1)) for c in others))
        if draining is not None and not others:
            await draining
        elif draining is not None:
            draining.cancel()
        await stop_sidecars(pod, max(0.1, end - time.monotonic()))
    if pod.sandbox is None:  # the pod is not connected, as after a restart of the node
        await garbage_collection.kill_sandbox(pod.init_path)
        return
    with contextlib.suppress(OSError):
        pod.sandbox.send({"op": "shutdown"})


def app_containers(pod: PodState) -> list[Container]:
    """The running containers that are no sidecars."""
    return [c for c in pod.containers if not c.sidecar and c.name != PROXY and c.running]


async def stop_sidecars(pod: PodState, seconds: float = 5.0) -> None:
    """Terminate sidecars and ephemeral containers in reverse order of their start."""
    last = [c for c in pod.containers if (c.sidecar or c.ephemeral or c.name == PROXY) and c.running]
    await asyncio.gather(*(kill_container(pod, c, min(seconds, 5.0)) for c in reversed(last)))


async def clean_up(pod: PodState) -> None:
    """Release everything that a stopped pod holds: address, files, logs and control groups; then delete its object."""
    await pod.node.agent.remove(pod.uid)
    for c in pod.containers:
        c.close_relay()
    if pod.sandbox is not None:
        pod.sandbox.close()
    pod.node.release(pod.uid)
    pod.node.groups.remove(pod.uid)
    volumes.remove(pod.directory)
    volumes.remove(pod.node.logs_dir / f"{pod.namespace}_{pod.name}_{pod.uid}")
    pod.node.pod_addresses_changed()
    if pod.deleted.is_set():
        return
    for _ in range(20):
        try:
            await pod.node.client.delete(PODS, pod.name, pod.namespace, grace=0)
            return
        except ApiError as error:
            if error.status == 404:
                return
        except OSError:
            pass
        await asyncio.sleep(0.5)


def _signal(name: str) -> signal.Signals:
    """The STOPSIGNAL of an image, by name or number."""
    try:
        return signal.Signals(int(name)) if name.isdigit() else signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        return signal.SIGTERM
