"""Records findings of the analysis as Kubernetes events of their objects, for `kubectl describe` and `kubectl get events`.

A finding is recorded if it has lasted: objects that are applied together refer to each other before all of them are there. Must not find
anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sailcloth.analysis.analyzers import catalogue
from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key
from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.resources import EVENTS
from sailcloth.lib.clock import MONOTONIC, Clock
from sailcloth.lib.work_queue import WorkQueue

from . import conditions
from .status_api import resource_of

LASTING_S = 2.0
_MOST = 10  # of one object at a time
_COMPONENT = "sailcloth"


class FindingEvents:
    """`found` tells the findings of an object; `run` records those that are new and have lasted."""

    def __init__(self, client: Client, clock: Clock = MONOTONIC) -> None:
        self._client = client
        self._found: dict[
            Key, tuple[dict[str, str], dict[str, Finding]]
        ] = {}  # by object: its reference; its findings by text
        self._recorded: dict[Key, set[str]] = {}
        self.queue = WorkQueue(self._record, name="finding events", retry=RETRIABLE, delay=LASTING_S, clock=clock)

    def found(self, kind: Kind, key: Key, uid: str, findings: Iterable[Finding]) -> None:
        """All findings about an object at this time. An object that has none, or no longer exists, is forgotten."""
        texts = {f"{f.code} {f.path}: {f.text}": f for f in findings if f.severity != "Info"}
        if not texts:
            self._found.pop(key, None)
            self._recorded.pop(key, None)
            return
        reference = {
            "apiVersion": resource_of(kind).api_version,
            "kind": key.kind,
            "name": key.name,
            "namespace": key.namespace,
            "uid": uid,
        }
        self._found[key] = {k: v for k, v in reference.items() if v}, texts
        self.queue.add(key)

    async def run(self) -> None:
        """Record until cancelled."""
        await self.queue.run()

    async def _record(self, key: Key) -> None:
        reference, texts = self._found.get(key, ({}, {}))
        recorded = self._recorded.setdefault(key, set())
        recorded &= texts.keys()
        for text in [t for t in texts if t not in recorded][:_MOST]:
            try:
                await self._client.create(EVENTS, _event(reference, texts[text], text))
            except ApiError as error:
                if error.status not in (403, 404):  # the namespace is being deleted, or is gone
                    raise
            recorded.add(text)


def _event(reference: dict[str, str], finding: Finding, text: str) -> dict[str, Any]:
    now = conditions.timestamp(conditions.utc_now())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{reference['name']}.", "namespace": reference.get("namespace", "default")},
        "involvedObject": reference,
        "type": "Warning",
        "reason": catalogue.MESSAGES[finding.code].name,
        "message": text[:1024],
        "source": {"component": _COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "reportingComponent": _COMPONENT,
        "reportingInstance": _COMPONENT,
    }
