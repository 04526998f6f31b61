"""What an installation would change in a cluster, as text. Changes nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import yaml

from sailcloth.kube import ApiError, Client

from . import apply, spec
from .ownership import LASTING, RESOURCES, Name, name_of, title

Object = dict[str, Any]
_SERVERS = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")


async def changes(client: Client, plan: spec.Plan, force: bool) -> list[str]:
    """A text for each object that is new, changed (with a diff) or removed, by a dry run of the API server. Raises Conflicts."""
    objects = [o for _, part in await apply.ours(client, apply.manifests(plan)) for o in part]
    await apply.conflicts(client, objects, force)
    found: list[str] = []
    for obj, answer in zip(objects, await apply.dry_run(client, objects, force), strict=True):
        live = await _live(client, name_of(obj))
        if live is None:
            found.append(f"+ {title(name_of(obj))}")
        elif not isinstance(answer, ApiError) and (lines := difference(live, answer)):
            found.append("\n".join([f"~ {title(name_of(obj))}", *(f"    {line}" for line in lines)]))
    wanted = {name_of(o) for o in objects}
    owned = await apply.owned_names(client, (plan.revision,))
    return [*found, *(f"- {title(n)}" for n in owned if n not in wanted and n[0] not in LASTING)]


async def _live(client: Client, name: Name) -> Object | None:
    kind, namespace, own = name
    try:
        return await client.get(RESOURCES[kind], own, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def difference(old: Object, new: Object) -> list[str]:
    """Lines of a unified diff of two objects, without what the API server writes."""
    before, after = (yaml.safe_dump(_plain(o)).splitlines() for o in (old, new))
    return list(difflib.unified_diff(before, after, n=2, lineterm=""))[2:]


def _plain(obj: Object) -> Object:
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k not in _SERVERS}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": metadata}


def documents(left: Iterable[Object], right: Iterable[Object]) -> list[str]:
    """A text for each object that two manifests do not have in common."""
    first, second = ({_key(o): o for o in side} for side in (left, right))
    found = [f"- {' '.join(key)}" for key in first if key not in second]
    found += [f"+ {' '.join(key)}" for key in second if key not in first]
    for key in first:
        if key in second and (lines := difference(first[key], second[key])):
            found.append("\n".join([f"~ {' '.join(key)}", *(f"    {line}" for line in lines)]))
    return found


def _key(obj: Object) -> tuple[str, ...]:
    metadata = obj.get("metadata") or {}
    return str(obj.get("kind")), "/".join(filter(None, (metadata.get("namespace"), str(metadata.get("name")))))
