"""Takes an installation out of a cluster: its own objects, and what its control plane has made. What users have made stays, unless the
definitions of the kinds and the namespace go too (`purge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Sequence

from sailcloth.api.gateway_api import CONTROLLER, GROUP
from sailcloth.api.revision import DEFAULT, LABEL, suffixed
from sailcloth.injector.inject import STATUS
from sailcloth.kube import ApiError, Client, Resource
from sailcloth.kube.resources import (
    CONFIGMAPS,
    CRDS,
    LEASES,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    SECRETS,
    VALIDATING_WEBHOOKS,
)

from .access import BUNDLES, LEASE
from .apply import Report, delete, installed, owned_names
from .definitions import NAMESPACE
from .ownership import LASTING, SELECTOR, Name, title
from .readiness import Deadline, NotReady

_CLASSES = Resource(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
_POLL_S = 0.2


async def planned(client: Client, revisions: Container[str], purge: bool) -> list[Name]:
    """The objects of some revisions that are to be removed."""
    return [n for n in await owned_names(client, revisions) if purge or n[0] not in LASTING]


async def uninstall(client: Client, revisions: Sequence[str], purge: bool, report: Report, deadline: Deadline) -> None:
    """Remove revisions of an installation, and what all share if no other one stays. Raises NotReady if the control plane's pods do not end in
    time."""
    last = all(revision in revisions for revision in await installed(client))
    names = await planned(client, revisions, purge)
    first = [n for n in names if n[0] in ("HorizontalPodAutoscaler", "Deployment")]
    await _remove(client, first, report)
    if any(name.startswith("istiod") for _, _, name in names):  # else the control plane is somebody else's
        await _webhooks(client, revisions, report)  # without a control plane they let no pod start
        await _ended(client, revisions, deadline)
        await _webhooks(client, revisions, report)  # it may have written them once more
        await _remove_made(client, [(LEASES, NAMESPACE, suffixed(LEASE, r)) for r in revisions], report)
        if last:
            await _bundles(client, purge, report)
    await _remove(client, [n for n in names if n not in first and n[0] not in LASTING], report)
    if purge:
        await _remove(client, [n for n in names if n[0] in LASTING], report)
        await _gone(client, deadline)


async def _remove(client: Client, names: Iterable[Name], report: Report) -> None:
    for name in names:
        if await delete(client, name):
            report(f"{title(name)} is removed")


async def _ended(client: Client, revisions: Sequence[str], deadline: Deadline) -> None:
    """Wait until no control plane runs. A pod that the Deployment does not own, as that of a local cluster, is none of ours."""
    while True:
        pods, _ = await client.list(PODS, NAMESPACE, f"app=istiod,{LABEL} in ({','.join(revisions)})")
        names = sorted(p["metadata"]["name"] for p in pods if p["metadata"].get("ownerReferences"))
        if not names or not deadline.waits:
            return
        if deadline.passed():
            raise NotReady(
                f"pod {NAMESPACE}/{names[0]} has not ended after {deadline.seconds:g} s; nothing else is removed"
            )
        await asyncio.sleep(_POLL_S)


async def _webhooks(client: Client, revisions: Sequence[str], report: Report) -> None:
    """Those of the control plane, and of tags that stand for it."""
    selector = f"{LABEL} in ({','.join(revisions)}),app in (sidecar-injector,istiod)"
    for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
        found, _ = await client.list(resource, label_selector=selector)
        await _remove_made(client, [(resource, "", o["metadata"]["name"]) for o in found], report)


async def _bundles(client: Client, purge: bool, report: Report) -> None:
    """Remove the mesh's roots from all namespaces, and what else the control plane has made."""
    maps, _ = await client.list(CONFIGMAPS, label_selector="istio.io/config=true")
    made: list[tuple[Resource, str, str]] = [
        (CONFIGMAPS, m["metadata"]["namespace"], m["metadata"]["name"])
        for m in maps
        if m["metadata"]["name"] in BUNDLES
    ]
    if purge:
        made.append((SECRETS, NAMESPACE, "istio-ca-secret"))
        made += [(_CLASSES, "", name) for name in await _classes(client)]
    await _remove_made(client, made, report)


async def _remove_made(client: Client, made: Iterable[tuple[Resource, str, str]], report: Report) -> None:
    for resource, namespace, name in made:
        try:
            await client.delete(resource, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            continue
        report(f"{title((resource.kind, namespace, name))} is removed")


async def _classes(client: Client) -> list[str]:
    """The classes of the Gateway API that the control plane has made."""
    try:
        found, _ = await client.list(_CLASSES)
    except ApiError as error:
        if error.status != 404:  # the cluster has no Gateway API
            raise
        return []
    return [o["metadata"]["name"] for o in found if (o.get("spec") or {}).get("controllerName") == CONTROLLER]


async def _gone(client: Client, deadline: Deadline) -> None:
    """Wait until definitions and namespaces are gone, which takes as long as their objects."""
    while deadline.waits:
        found = [o for r in (CRDS, NAMESPACES) for o in (await client.list(r, label_selector=SELECTOR))[0]]
        if not found:
            return
        if deadline.passed():
            raise NotReady(
                f"{found[0]['metadata']['name']} is not gone after {deadline.seconds:g} s; an object of it may have a finalizer"
            )
        await asyncio.sleep(_POLL_S)


async def injected_pods(client: Client, revisions: Container[str]) -> list[str]:
    """The pods with a proxy of some revisions, as namespace/name, but for gateways of the control plane's namespace."""
    pods = ((p["metadata"], p["metadata"].get("annotations") or {}) for p in (await client.list(PODS))[0])
    return [
        f"{metadata['namespace']}/{metadata['name']}"
        for metadata, annotations in pods
        if STATUS in annotations and annotations.get(LABEL, DEFAULT) in revisions and metadata["namespace"] != NAMESPACE
    ]


async def users_objects(client: Client) -> dict[str, int]:
    """How many objects there are of the kinds that a purge removes, by name of the definition."""
    out: dict[str, int] = {}
    for definition in (await client.list(CRDS, label_selector=SELECTOR))[0]:
        spec = definition["spec"]
        version = next(v["name"] for v in spec["versions"] if v["storage"])
        resource = Resource(spec["group"], version, spec["names"]["plural"], spec["names"]["kind"])
        if count := len((await client.list(resource))[0]):
            out[definition["metadata"]["name"]] = count
    return out
