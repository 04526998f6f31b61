"""Lifecycle hooks of containers, postStart and preStop. Source: Kubernetes' LifecycleHandler."""

from __future__ import annotations

import asyncio
import time

from . import prober
from .pod_state import PROXY, Container, Object, PodState

_PROXY_S = 60.0  # how long holdApplicationUntilProxyStarts waits for the proxy


def handler(c: Container, moment: str) -> Object:
    """The handler for `postStart` or `preStop`; empty if there is none."""
    return (c.spec.get("lifecycle") or {}).get(moment) or {}


async def run(pod: PodState, c: Container, moment: str, seconds: float) -> str:
    """Run a hook for at most `seconds`. Returns why it failed, empty if it succeeded."""
    result = handler(c, moment)
    if not result or pod.sandbox is None:
        return ""
    if c.name == PROXY and "exec" in result:  # pilot-agent, which serves all pods from the node's process
        return await _until_ready(pod, c) if moment == "postStart" else ""
    if "sleep" in result:
        await asyncio.sleep(min(seconds, float(result["sleep"].get("seconds") or 0)))
        return ""
    passed, why = await prober.probe({**result, "timeoutSeconds": seconds}, c, pod)
    return "" if passed else why


async def _until_ready(pod: PodState, c: Container) -> str:
    """Wait like `pilot-agent wait`: until the proxy has its configuration."""
    end = time.monotonic() + _PROXY_S
    probe, why = c.spec.get("readinessProbe") or {}, "not ready"
    while c.running and pod.sandbox is not None and time.monotonic() < end:
        passed, why = await prober.probe(probe, c, pod)
        if passed:
            return ""
        await asyncio.sleep(0.05)
    return f"the sidecar is not ready after {_PROXY_S:.0f} s: {why}"
