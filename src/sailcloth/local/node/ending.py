"""The orderly end of containers and of a pod: hooks, signals, grace periods, applications before their sidecar."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from sailcloth.kube import ApiError
from sailcloth.kube.resources import PODS

from . import hooks, leftovers, volumes
from .podstate import PROXY, Container, PodState

_LEAST_S = 2.0  # that a container has to end even if its hook took all its time


def grace(pod: PodState) -> float:
    """Seconds that containers have to end by themselves."""
    given = pod.object["metadata"].get("deletionGracePeriodSeconds")
    return float(pod.spec.get("terminationGracePeriodSeconds", 30) if given is None else given)


async def kill(pod: PodState, c: Container, seconds: float) -> None:
    """End a container: its hook, SIGTERM, and SIGKILL when its time is over."""
    if not c.running or pod.link is None:
        return
    with contextlib.suppress(OSError):
        if hooks.handler(c, "preStop"):
            end = time.monotonic() + seconds
            failed = await hooks.run(pod, c, "preStop", max(1, seconds))
            if failed:
                await pod.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {failed}", c.name)
            seconds = max(_LEAST_S, end - time.monotonic())
        pod.link.send({"op": "signal", "name": c.name, "signal": int(_signal(c.stop_signal))})
        try:
            await asyncio.wait_for(c.ended.wait(), seconds)
        except TimeoutError:
            pod.link.send({"op": "signal", "name": c.name, "signal": int(signal.SIGKILL)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(c.ended.wait(), 2)


async def stop(pod: PodState) -> None:
    """Applications first, their sidecar last, so that it serves their last requests."""
    if pod.link is not None and not pod.gone.is_set():
        seconds = grace(pod)
        end = time.monotonic() + seconds
        for c in pod.containers:
            c.ready = False
        pod.changed.set()
        await pod.event("Normal", "Killing", f"Stopping container {pod.containers[-1].name}")
        proxies = [c for c in pod.containers if c.name == PROXY and c.running]
        draining = asyncio.ensure_future(pod.node.agent.drain(pod.uid, seconds)) if proxies and seconds > 1 else None
        others = applications(pod)
        if proxies and others and seconds > 2:
            await asyncio.sleep(0.5)  # clients of the mesh hear of the change before the application refuses them
        await asyncio.gather(*(kill(pod, c, max(0.1, end - time.monotonic() - 1)) for c in others))
        if draining is not None and not others:
            await draining
        elif draining is not None:
            draining.cancel()
        await stop_sidecars(pod, max(0.1, end - time.monotonic()))
    if pod.link is None:  # it had ended before this node process began
        await leftovers.end(pod.init_path)
        return
    with contextlib.suppress(OSError):
        pod.link.send({"op": "shutdown"})


def applications(pod: PodState) -> list[Container]:
    """The running containers that are not there for others."""
    return [c for c in pod.containers if not c.sidecar and c.name != PROXY and c.running]


async def stop_sidecars(pod: PodState, seconds: float = 5.0) -> None:
    """End what serves the containers that have ended, the last one first."""
    last = [c for c in pod.containers if (c.sidecar or c.ephemeral or c.name == PROXY) and c.running]
    await asyncio.gather(*(kill(pod, c, min(seconds, 5.0)) for c in reversed(last)))


async def remove(pod: PodState) -> None:
    """Leave nothing of a stopped pod: address, files, logs, and its object."""
    await pod.node.agent.forget(pod.uid)
    for c in pod.containers:
        c.close_relay()
    if pod.link is not None:
        pod.link.close()
    pod.node.release(pod.uid)
    pod.node.groups.remove(pod.uid)
    volumes.remove(pod.directory)
    volumes.remove(pod.node.logs_dir / f"{pod.namespace}_{pod.name}_{pod.uid}")
    pod.node.address_changed()
    if pod.gone.is_set():
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
    """An image's stop signal, by name or number."""
    try:
        return signal.Signals(int(name)) if name.isdigit() else signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        return signal.SIGTERM
