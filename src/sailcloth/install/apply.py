"""Brings an installation to a cluster: definitions, the control plane, and when that injects, the gateways. By server-side apply with a
field manager of its own, so that what others have set is neither lost nor overwritten unasked.

Before anything is changed, everything is applied as a dry run; a conflict with another manager ends there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import orjson
import yaml

from sailcloth.api.revision import DEFAULT, LABEL, TAG, suffixed
from sailcloth.injector import webhook_config
from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import CONFIGMAPS, CRDS, MUTATING_WEBHOOKS, NAMESPACES
from sailcloth.lib import bounded_yaml

from . import readiness, spec
from .definitions import NAMESPACE
from .ownership import (
    COMPONENT,
    LASTING,
    MANAGER,
    OWNER,
    RESOURCES,
    SELECTOR,
    STATE,
    Name,
    by_removal,
    name_of,
    owned,
    title,
)
from .profiles import Spec
from .readiness import Deadline

Object = dict[str, Any]
Part = tuple[str, list[Object]]
"""A component and its objects."""
Report = Callable[[str], None]
_AT_ONCE = 8
_STATE = "State"
_GATEWAYS = ("IngressGateways", "EgressGateways")
_AWAITED = ("Telemetry", "Console", *_GATEWAYS)


class Conflicts(Exception):
    """Fields that another manager has, one text for each."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__("\n".join(texts))
        self.texts = texts


def manifests(plan: spec.Plan) -> list[Part]:
    """(component, its objects with the labels of an installation), in order; namespaces first."""
    parts = [(c.name, [owned(o, c.name, plan.revision) for o in c.objects()]) for c in plan.components]
    if not parts:
        return []
    places = dict.fromkeys((NAMESPACE, *(n for _, objects in parts for o in objects if (n := name_of(o)[1]))))
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in places]
    return [("Namespaces", spaces), (_STATE, [state(plan)]), *parts]


async def ours(client: Client, parts: Sequence[Part]) -> list[Part]:
    """The components without definitions of kinds that are in the cluster already, but for those of an installation by sailctl: kinds that Istio
    or a chart has brought are theirs."""
    found, _ = await client.list(CRDS, label_selector=f"!{OWNER}")
    theirs = {("CustomResourceDefinition", "", o["metadata"]["name"]) for o in found}
    return [(component, [o for o in objects if name_of(o) not in theirs]) for component, objects in parts]


def state(plan: spec.Plan) -> Object:
    """The ConfigMap that says what is installed."""
    text = yaml.safe_dump(spec.document(plan.asked), sort_keys=False)
    metadata = {"name": suffixed(STATE, plan.revision), "namespace": NAMESPACE}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"spec": text}}
    return owned(made, _STATE, plan.revision)


async def installed(client: Client) -> dict[str, Spec]:
    """What the installations in the cluster were asked for, by revision."""
    found, _ = await client.list(CONFIGMAPS, NAMESPACE, f"{SELECTOR},{COMPONENT}={_STATE}")
    specs = (spec.from_document(bounded_yaml.load((o.get("data") or {}).get("spec", ""))) for o in found)
    return {spec.revision_of(one): one for one in specs}


async def install(client: Client, plan: spec.Plan, report: Report, deadline: Deadline, force: bool = False) -> None:
    """Apply a plan, and remove what an earlier one had and this one has not. Raises Conflicts before anything is changed, NotReady at the
    deadline."""
    every = manifests(plan)
    parts = await ours(client, every)
    if kept := sum(len(objects) for _, objects in every) - sum(len(objects) for _, objects in parts):
        report(f"{kept} kinds are there already, and stay as whoever installed them has them")
    await conflicts(client, [o for _, objects in parts for o in objects], force)
    await _namespaces(client, [o for _, objects in parts[:1] for o in objects])
    starting = any(c.name == "Pilot" for c in plan.components)
    for component, objects in parts[1:]:
        if starting and component in _GATEWAYS:  # their pods would stay without a proxy
            await _control_plane(client, plan.revision, deadline, report)
            starting = False
        definitions = [o for o in objects if o["kind"] == "CustomResourceDefinition"]
        await _apply(client, definitions, force)
        if definitions:
            await readiness.established(client, [o["metadata"]["name"] for o in definitions], deadline, report)
        await _apply(client, [o for o in objects if o not in definitions], force)
        report(f"{component}: applied ({len(objects)} object{'s' if len(objects) > 1 else ''})")
        for _, place, name in (
            name_of(o) for o in objects if o["kind"] == "DaemonSet"
        ):  # before pods are injected for it
            await readiness.available(client, name, place, deadline, report, "DaemonSet")
    if starting:
        await _control_plane(client, plan.revision, deadline, report)
    for component, objects in parts:
        for obj in objects if component in _AWAITED else ():
            if obj["kind"] == "Deployment":
                await readiness.available(client, name_of(obj)[2], name_of(obj)[1], deadline, report)
    await _prune(client, plan.revision, {name_of(o) for _, objects in parts for o in objects}, report)


async def _control_plane(client: Client, revision: str, deadline: Deadline, report: Report) -> None:
    """Wait until the control plane serves and injects. The first one that has a name gets the tag `default`, so that namespaces with
    `istio-injection=enabled` are injected."""
    await readiness.available(client, suffixed("istiod", revision), NAMESPACE, deadline, report)
    webhooks = await readiness.injecting(client, suffixed(webhook_config.NAME, revision), deadline, report)
    if webhooks and not await _has_default(client):
        tag = webhook_config.tag(webhooks[0]["clientConfig"], DEFAULT, revision)
        await client.apply(MUTATING_WEBHOOKS, tag, field_manager=MANAGER, force=True)
        report(f"the tag default stands for the revision {revision}")


async def _has_default(client: Client) -> bool:
    """Whether what asks for injection without naming a revision gets it."""
    hooks, _ = await client.list(MUTATING_WEBHOOKS, label_selector="app=sidecar-injector")
    labels = [h["metadata"]["labels"] for h in hooks]
    return any(DEFAULT in (o.get(TAG), o.get(LABEL)) for o in labels)


async def conflicts(client: Client, objects: Sequence[Object], force: bool) -> None:
    """Apply as a dry run. Raises Conflicts for fields of other managers, unless they are taken over, and ApiError for what the API server
    refuses in another way."""
    texts: list[str] = []
    for obj, answer in zip(objects, await dry_run(client, objects, force), strict=True):
        if isinstance(answer, ApiError) and answer.status == 409:
            causes = (answer.body.get("details") or {}).get("causes") or [{"message": answer.message}]
            texts += [f"{title(name_of(obj))}: {c.get('field', '')}: {c.get('message', '')}" for c in causes]
        elif isinstance(answer, ApiError) and answer.status != 404:  # a namespace that is made in a moment
            raise ApiError(answer.status, answer.reason, f"{title(name_of(obj))}: {answer.message}", answer.body)
    if texts:
        raise Conflicts(texts)


async def dry_run(client: Client, objects: Iterable[Object], force: bool) -> list[Object | ApiError]:
    """What an apply would make of each object, or why it would not."""

    async def one(obj: Object) -> Object | ApiError:
        try:
            return await _applied(client, obj, force, dryRun="All")
        except ApiError as error:
            if error.status not in (400, 403, 404, 409, 422):
                raise
            return error

    return await _each(one, objects)


async def _apply(client: Client, objects: Sequence[Object], force: bool) -> None:
    async def one(obj: Object) -> None:
        await _applied(client, obj, force)

    await _each(one, objects)


async def _applied(client: Client, obj: Object, force: bool, **query: str) -> Object:
    kind, namespace, name = name_of(obj)
    path = RESOURCES[kind].path(namespace, name)
    answer = await client.call(
        "PATCH",
        path,
        obj,
        kind="application/apply-patch+yaml",
        fieldManager=MANAGER,
        force="true" if force else "false",
        **query,
    )
    return dict(orjson.loads(answer))


async def _namespaces(client: Client, spaces: Iterable[Object]) -> None:
    """Make the namespaces that are missing. Only those are the installation's own."""
    for space in spaces:
        try:
            await client.create(NAMESPACES, owned(space, "Namespaces"))
        except ApiError as error:
            if error.status != 409:
                raise


async def _each(work: Callable[[Object], Any], objects: Iterable[Object]) -> list[Any]:
    """Results of the work for each object, some at a time."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(obj: Object) -> Any:
        async with limit:
            return await work(obj)

    tasks = [asyncio.ensure_future(one(o)) for o in objects]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def owned_names(client: Client, revisions: Container[str]) -> list[Name]:
    """The objects of some revisions, in the order in which they are removed; those that all share too, if there is no other revision."""
    alone = all(revision in revisions for revision in await installed(client))
    found = []
    for resource in RESOURCES.values():
        for item in (await client.list(resource, label_selector=SELECTOR))[0]:
            named = item["metadata"]["labels"].get(LABEL)
            if named in revisions if named else alone:
                found.append(name_of({**item, "kind": resource.kind}))
    return by_removal(found)


async def _prune(client: Client, revision: str, wanted: set[Name], report: Report) -> None:
    for name in await owned_names(client, (revision,)):
        if name not in wanted and name[0] not in LASTING:
            await delete(client, name)
            report(f"{title(name)} is removed")


async def delete(client: Client, name: Name) -> bool:
    """Whether the object was there."""
    kind, namespace, own = name
    try:
        await client.delete(RESOURCES[kind], own, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True
