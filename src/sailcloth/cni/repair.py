"""Mends pods of this node that started without capture, such as before the plugin was there: their container istio-validation ends with 126.

Captures in place, or deletes or labels the pod. Must not touch a pod whose validation has not said so.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sailcloth.kube import RETRIABLE, ApiError, Client, Informer
from sailcloth.kube.informer import EventKind, ObjectId
from sailcloth.kube.resources import PODS
from sailcloth.lib.work_queue import WorkQueue

from . import pods

log = logging.getLogger(__name__)
_RETRY = (*RETRIABLE, ValueError)
Object = dict[str, Any]


@dataclass(frozen=True)
class Repair:
    """What to do with broken pods; the first that is set of deleting, labelling and repairing."""

    delete: bool = False
    label: bool = False
    repair: bool = True
    container: str = "istio-validation"
    key: str = "cni.istio.io/uninitialized"
    value: str = "true"


class Repairer:
    """Watches the node's pods. `namespaces`: the folder with their network namespaces."""

    def __init__(self, client: Client, node: str, namespaces: Path, how: Repair) -> None:
        self._client, self._node, self._namespaces, self._how = client, node, namespaces, how
        self._broken: dict[ObjectId, Object] = {}
        self._queue = WorkQueue[ObjectId](self._mend, name="pods without capture", retry=_RETRY)

    async def run(self) -> None:
        """Mend until cancelled."""
        informer = Informer(self._client, PODS, orjson.loads, field_selector=f"spec.nodeName={self._node}")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informer.run(self._on_event))
            tasks.create_task(self._queue.run())

    def _on_event(self, kind: EventKind, pod: Object, ident: ObjectId) -> None:
        if kind != "DELETED" and pods.is_broken(pod, self._how.container):
            self._broken[ident] = pod
            self._queue.add(ident)
        else:
            self._broken.pop(ident, None)

    async def _mend(self, ident: ObjectId) -> None:
        pod, how = self._broken.get(ident), self._how
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return
        namespace, name = ident
        if how.delete:
            condition = {"preconditions": {"uid": pod["metadata"]["uid"]}}
            try:
                await self._client.call("DELETE", PODS.path(namespace, name), condition)
            except ApiError as error:
                if error.status not in (404, 409):  # it has gone, or is another one
                    raise
            log.info("deleted, for nothing captured its traffic: %s/%s", namespace, name)
        elif how.label:
            labels = pod["metadata"].get("labels") or {}
            if labels.get(how.key) != how.value:
                patch = {"metadata": {"labels": {how.key: how.value}, "uid": pod["metadata"]["uid"]}}
                await self._client.patch(PODS, name, namespace, patch)
                log.info("labelled %s=%s: %s/%s", how.key, how.value, namespace, name)
        elif how.repair and (rules := pods.wanted(pod, how.container)) is not None:
            address = (pod.get("status") or {}).get("podIP", "")
            path = await asyncio.to_thread(pods.find, self._namespaces, address) if address else None
            if path is None:
                raise OSError(
                    f"no network namespace in {self._namespaces} has {address}, the address of {namespace}/{name}"
                )
            await asyncio.to_thread(pods.apply, path, rules)
            log.info("captured afterwards: %s/%s in %s", namespace, name, path)
