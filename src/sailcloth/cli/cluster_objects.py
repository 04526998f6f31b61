"""Reads objects from a cluster: one that may be absent, and all that the mesh knows, for commands that judge them as the control plane does."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sailcloth.api.kinds import Kind
    from sailcloth.api.meta import Key
    from sailcloth.kube import Client, Resource

_ROOT = "istio-system"  # where the mesh's options are


def resource_of(kind: Kind) -> Resource:
    """What the API server serves a kind as."""
    from sailcloth.kube import Resource

    return Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)


async def existing(api: Client, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
    """An object; None if there is none. Raises ApiError for any other refusal."""
    from sailcloth.kube import ApiError

    try:
        return await api.get(resource, name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod has the condition Ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def read(api: Client, kinds: Collection[str] = ()) -> list[tuple[Key, Any]]:
    """The objects of these kinds, or of all but Secrets, and those of the legacy kinds. Kinds that the cluster does not serve have
    none; objects that do not match their schema are left out, as the control plane leaves them out."""
    from sailcloth.analysis import manifests
    from sailcloth.api.kinds import CORE_KINDS, LEGACY_KINDS, OPTIONAL_KINDS, SERVED_KINDS
    from sailcloth.api.meta import Finding
    from sailcloth.kube import ApiError

    objects = []
    for known in (*CORE_KINDS, *SERVED_KINDS, *OPTIONAL_KINDS):
        if known not in LEGACY_KINDS and (known.name not in kinds if kinds else known.name == "Secret"):
            continue
        try:
            items, _ = await api.list(resource_of(known), _ROOT if known.name == "ConfigMap" else "")
        except ApiError as error:
            if error.status != 404:
                raise
            continue
        for item in items:
            parsed = manifests.typed({"apiVersion": known.api_version, "kind": known.name, **item})
            if parsed is not None and not isinstance(parsed, Finding):
                objects.append(parsed)
    return objects
