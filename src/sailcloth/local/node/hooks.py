"""Lifecycle hooks: what a container wants done right after its start and right before its end. Source: Kubernetes' LifecycleHandler."""

from __future__ import annotations

import asyncio
import time

from . import probes
from .podstate import PROXY, Container, Object, PodState

_PROXY_S = 60.0  # how long applications are held for a sidecar that is not ready


def handler(c: Container, moment: str) -> Object:
    """The hook for `postStart` or `preStop`; empty if there is none."""
    return (c.spec.get("lifecycle") or {}).get(moment) or {}


async def run(pod: PodState, c: Container, moment: str, seconds: float) -> str:
    """Do it, for at most so long. Returns why it failed, empty if it did not."""
    found = handler(c, moment)
    if not found or pod.link is None:
        return ""
    if c.name == PROXY and "exec" in found:  # commands of the agent, which is not in the container here
        return await _until_ready(pod, c) if moment == "postStart" else ""
    if "sleep" in found:
        await asyncio.sleep(min(seconds, float(found["sleep"].get("seconds") or 0)))
        return ""
    passed, why = await probes.once({**found, "timeoutSeconds": seconds}, c, pod.link.netns_fd, pod.init_path)
    return "" if passed else why


async def _until_ready(pod: PodState, c: Container) -> str:
    """What `pilot-agent wait` waits for: a sidecar that has its configuration."""
    end = time.monotonic() + _PROXY_S
    probe, why = c.spec.get("readinessProbe") or {}, "not ready"
    while c.running and pod.link is not None and time.monotonic() < end:
        passed, why = await probes.once(probe, c, pod.link.netns_fd, pod.init_path)
        if passed:
            return ""
        await asyncio.sleep(0.05)
    return f"the sidecar is not ready after {_PROXY_S:.0f} s: {why}"
