"""Runs startup, readiness and liveness probes periodically, and acts on their results. `prober` runs a single probe."""

from __future__ import annotations

import asyncio
import time

from . import prober, termination
from .pod_state import Container, Object, PodState

_LISTEN_S = 10.0  # without a readiness probe: how long to wait for the container's ports; a busy machine starts slowly
_FAST_STARTUP_S = 2.0  # startup and readiness probes run every 50 ms at first


def start(pod: PodState, c: Container) -> None:
    """Start the probes of a running container. One that is started or ready already, as after a restart of the node, stays so
    until its probes say otherwise."""
    if not c.spec.get("startupProbe"):
        c.started = True
        c.startup_passed.set()
    if c.started and not c.spec.get("readinessProbe") and (not c.ready or c.ready_before):
        c.probing.append(pod.spawn(_listening(pod, c)))
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if c.spec.get(kind) and not (kind == "startupProbe" and c.started):
            c.probing.append(asyncio.ensure_future(_repeat(pod, c, kind, c.spec[kind])))


async def _listening(pod: PodState, c: Container) -> None:
    """Without a readiness probe, wait for the container's TCP ports for `_LISTEN_S` at most, then set it ready."""
    ports = [p["containerPort"] for p in c.spec.get("ports") or () if p.get("protocol", "TCP") == "TCP"]
    end = time.monotonic() + _LISTEN_S
    while ports and c.running and pod.sandbox is not None and time.monotonic() < end:
        addresses = (pod.ip, "127.0.0.1")  # which of them is the application's own affair
        probes: list[Object] = [{"tcpSocket": {"port": ports[0], "host": a}, "timeoutSeconds": 1} for a in addresses]
        if any([(await prober.probe(probe, c, pod))[0] for probe in probes]):
            ports.pop(0)
        else:
            await asyncio.sleep(0.02)
    if c.running:
        c.ready, c.ready_before = True, False
        pod.changed.set()


async def _repeat(pod: PodState, c: Container, kind: str, probe: Object) -> None:
    if kind != "startupProbe":
        await c.startup_passed.wait()
    delay = float(probe.get("initialDelaySeconds") or 0)
    if kind == "livenessProbe":
        await asyncio.sleep(delay)
    period = float(probe.get("periodSeconds") or 10)
    began, failures, passes = time.monotonic(), 0, 0
    while c.running and pod.sandbox is not None:
        passed, why = await prober.probe(probe, c, pod)
        if passed:
            failures, passes = 0, passes + 1
            if kind == "startupProbe":
                c.started = True
                c.startup_passed.set()
                if not c.spec.get("readinessProbe"):
                    c.ready, c.ready_before = True, False
                pod.changed.set()
                return
            unready = not c.ready or c.ready_before
            if kind == "readinessProbe" and unready and passes >= int(probe.get("successThreshold") or 1):
                c.ready, c.ready_before = True, False
                pod.changed.set()
        else:
            passes, failures = 0, failures + 1
            # During the initial delay failures do not count, but a container that is ready earlier becomes ready.
            age = time.monotonic() - began
            unready = not c.ready or c.ready_before
            fast = kind != "livenessProbe" and unready and age < max(_FAST_STARTUP_S, delay)
            if not fast:
                word = kind.removesuffix("Probe").capitalize()
                await pod.event("Warning", "Unhealthy", f"{word} probe failed: {why}", c.name)
            if failures >= int(probe.get("failureThreshold") or 3) and not fast:
                if kind == "readinessProbe":
                    if c.ready:
                        c.ready = c.ready_before = False
                        pod.changed.set()
                else:
                    text = f"Container {c.name} failed {word.lower()} probe, will be restarted"
                    await pod.event("Normal", "Killing", text, c.name)
                    grace = float(probe.get("terminationGracePeriodSeconds") or termination.grace_period(pod))
                    pod.spawn(termination.kill_container(pod, c, grace))
                    return
            if fast:
                await asyncio.sleep(0.05 if age < _FAST_STARTUP_S else min(period, 1.0))
                continue
        await asyncio.sleep(period)
