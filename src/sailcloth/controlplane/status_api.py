"""Reads and writes statuses of objects in a Kubernetes API."""

from __future__ import annotations

from typing import Any

from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Key
from sailcloth.kube import ApiError, Client, Resource


def resource_of(kind: Kind) -> Resource:
    """The API resource of a kind, in its storage version."""
    return Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)


class KubernetesStatusApi:
    """Implements `status.StatusApi`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self, kind: Kind, key: Key) -> dict[str, Any]:
        try:
            obj = await self._client.get(resource_of(kind), key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        return obj.get("status") or {}

    async def write(self, kind: Kind, key: Key, status: dict[str, Any]) -> None:
        await merge_status(self._client, resource_of(kind), key, status)


async def merge_status(client: Client, resource: Resource, key: Key, status: dict[str, Any]) -> None:
    """Merge into an object's status. Does nothing if the object no longer exists; raises every other ApiError."""
    try:
        await client.patch(resource, key.name, key.namespace, {"status": status}, type="merge", sub="status")
    except ApiError as error:
        if error.status != 404:
            raise
