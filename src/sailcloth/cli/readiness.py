"""Brings a started cluster to use: applies the mesh and a sample application, and waits until its pods are ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sailcloth_samples

from .demos import Demo
from .local_cluster import LocalCluster

if TYPE_CHECKING:
    from sailcloth.kube import Client

    from .cluster import Applier

Object = dict[str, Any]
_READY_S = 60.0
_POLL_S = 0.03  # each question costs the starting cluster 2 ms of CPU
_AT_ONCE = 3  # writes; each of them needs a connection of its own, and the API server takes one after the other
_USER_DEPLOYMENTS_S = 10.0  # for Deployments of the user in a kept state, which may never become ready


class Progress:
    """Prints each step and its time to standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self.begin = quiet, time.monotonic()
        self._color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")

    def done(self, text: str) -> None:
        if not self._quiet:
            mark = "\x1b[32m✓\x1b[0m" if self._color else "✓"
            print(f"  {mark} {text} ({time.monotonic() - self.begin:.1f} s)", file=sys.stderr, flush=True)


async def install(
    cluster: LocalCluster,
    record: Object,
    steps: Progress,
    sample: Demo | None,
    telemetry: bool = True,
    load: float = 0.0,
) -> Object:
    from sailcloth.analysis import manifests
    from sailcloth.controlplane import bootstrap
    from sailcloth.kube import ApiError, Client

    from . import console
    from .cluster import Applier, as_kubectl

    def deadline(seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield
        raise TimeoutError(f"not ready within {seconds:.0f} s")

    # Made while the API server starts. Demos are traced whole.
    installed = bootstrap.objects({"telemetry": telemetry, "sampling": 100.0 if sample else 1.0})
    waiting = deadline(30)
    while True:
        with contextlib.suppress(OSError, ValueError):
            if record["api"] in cluster.state.kubeconfig.read_text():
                break
        cluster.check()
        next(waiting)
        await asyncio.sleep(0.005)
    async with Client.from_kubeconfig(str(cluster.state.kubeconfig)) as api:
        waiting = deadline(30)
        while True:
            try:
                await api.call("GET", "/readyz")
                break
            except (OSError, ApiError):
                cluster.check()
                next(waiting)
                await asyncio.sleep(0.005)
        steps.done("cluster up")
        applier = Applier(api)
        mesh = [o for o in installed if o["kind"] != "Deployment"]
        deployments = [o for o in installed if o["kind"] == "Deployment"]
        first = [o for o in mesh if o["kind"] == "CustomResourceDefinition"]
        await _apply_all(applier, first)
        for obj in (o for o in mesh if o["kind"] != "CustomResourceDefinition"):
            await applier.apply(obj)
        application: list[Object] = []
        if sample:
            await applier.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": sample.namespace, "labels": {"istio-injection": "enabled"}},
                }
            )
            for name in sample.files:
                application += map(as_kubectl, manifests.documents((sailcloth_samples.ROOT / name).read_text()))
        later = [o for o in application if o["kind"] == "Deployment"]
        for obj in (o for o in application if o["kind"] != "Deployment"):
            await applier.apply(obj)
        from sailcloth.kube.resources import MUTATING_WEBHOOKS

        waiting = deadline(30)
        while True:  # pods that come before the injector would have no sidecar
            try:
                await api.get(MUTATING_WEBHOOKS, "istio-sidecar-injector")
                break
            except ApiError:
                next(waiting)
                await asyncio.sleep(_POLL_S)
        steps.done("control plane up")
        await _apply_all(applier, [*deployments, *later])
        started = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record["started"]))
        first_200 = asyncio.ensure_future(_first_200(record["gateway"], sample.page, steps)) if sample else None
        needed = {
            (str(o["metadata"].get("namespace") or "default"), str(o["metadata"]["name"]))
            for o in [*deployments, *later]
        }
        count, late = await _pods_ready(api, needed, started)
        steps.done(
            f"{count} workloads injected and ready" if not late else f"the mesh is ready, but not {', '.join(late)}"
        )
        ready_s = time.monotonic() - steps.begin
        took = await first_200 if first_200 is not None else None
        if sample:
            await _set_load(api, applier, sample, load)
        console_url = await console.url(api, cluster.state.console_token)
    (cluster.state.run / "installed").touch()  # what can wait starts now
    return {
        "urls": {
            "productpage": None,
            **({sample.url: record["gateway"] + sample.page} if sample else {}),
            "console": console_url,
            "gateway": record["gateway"],
            "gateway_https": record["gateway_https"],
            "api": record["api"],
        },
        "kubeconfig": record["kubeconfig"],
        "first_200_s": round(took, 3) if took is not None else None,
        "ready_s": round(ready_s, 3),
    }


async def _set_load(api: Client, applier: Applier, sample: Demo, rate: float) -> None:
    """Start the pod that sends requests, or end that of an earlier start."""
    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import DEPLOYMENTS

    from . import demos

    if rate:
        await applier.apply(demos.load(sample, rate))
        return
    try:
        await api.delete(DEPLOYMENTS, demos.LOAD, sample.namespace)
    except ApiError as error:
        if error.status != 404:
            raise


async def _apply_all(applier: Applier, objects: list[Object]) -> None:
    """Apply objects in any order."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def apply(obj: Object) -> None:
        async with turn:
            await applier.apply(obj)

    await asyncio.gather(*map(apply, objects))


async def _first_200(gateway: str, page: str, steps: Progress) -> float:
    """Seconds until a page is answered with 200 through gateway and sidecars."""
    host, _, port = gateway.removeprefix("http://").partition(":")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 2)
            try:
                writer.write(f"GET {page} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                line = await asyncio.wait_for(reader.readline(), 15)
                if b" 200 " in line:
                    return time.monotonic() - steps.begin
            finally:
                writer.close()
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{page} does not answer with 200 within 60 s")


def _started_at(pod: Object) -> str:
    """Start time of the pod's last container (RFC 3339, UTC); empty if one is not running."""
    states = [s.get("state", {}).get("running", {}) for s in pod.get("status", {}).get("containerStatuses") or [{}]]
    return max(s.get("startedAt", "")[:19] for s in states) if all(states) else ""


def _has_replicas(deployment: Object) -> bool:
    wanted, status = int(deployment["spec"].get("replicas", 1)), deployment.get("status", {})
    return bool(min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0)) >= wanted)


def _is_started(deployment: Object, pods: list[Object], since: str) -> bool:
    """Whether all its pods were started after `since`: a kept state has old statuses."""
    labels = (deployment["spec"]["selector"].get("matchLabels") or {}).items()
    own = [p for p in pods if p["metadata"]["namespace"] == deployment["metadata"]["namespace"]]
    return all(_started_at(p) >= since for p in own if labels <= (p["metadata"].get("labels") or {}).items())


def _id(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"]["namespace"]), str(obj["metadata"]["name"])


async def _pods_ready(api: Any, needed: set[tuple[str, str]], since: str) -> tuple[int, list[str]]:
    """Wait for the needed Deployments, and for a while for all others. Returns the number of replicas and the Deployments
    that are not ready. Raises TimeoutError that names needed ones."""
    from sailcloth.kube.resources import DEPLOYMENTS, PODS

    end, patience = time.monotonic() + _READY_S, 0.0
    while True:
        items, _ = await api.list(DEPLOYMENTS)
        late = {_id(d) for d in items if not _has_replicas(d)}
        if not late & needed:  # pods are large: they are asked for when their number is right
            pods, _ = await api.list(PODS)
            late |= {_id(d) for d in items if not _is_started(d, pods, since)}
        names = [f"{namespace}/{name}" for namespace, name in map(_id, items) if (namespace, name) in late]
        missing = [f"{namespace}/{name}" for namespace, name in map(_id, items) if (namespace, name) in late & needed]
        now = time.monotonic()
        patience = 0.0 if missing else patience or now + _USER_DEPLOYMENTS_S
        if not names or (patience and now > patience):
            return sum(int(d["spec"].get("replicas", 1)) for d in items), names
        if now > end and missing:
            raise TimeoutError(f"not ready within {_READY_S:.0f} s: {', '.join(missing)}")
        await asyncio.sleep(_POLL_S)
