"""Conditions in statuses that are false although they should be true."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import GATEWAY_API, ObjectSet

# Conditions that are good when they are false, or that say nothing when they are.
_NEGATIVE = frozenset(
    ("Conflicted", "OverlappingTLSConfig", "PartiallyInvalid", "PassedAnalysis", "Reconciled", "Stalled")
)

_NOTHING = " matched nothing"  # as `controlplane.status` writes it


def conditions(objects: ObjectSet) -> Iterator[Finding]:
    """Conditions of objects of Istio and of the Gateway API, of Services, and of their parents and listeners."""
    for one in objects.all():
        if one.group.endswith(".istio.io") or one.group in (GATEWAY_API, "sailcloth.io") or one.key.kind == "Service":
            for path, condition in _conditions(one):
                kind, reason = unstructured.text(condition, "type"), unstructured.text(condition, "reason")
                if unstructured.text(condition, "status") == "False" and kind not in _NEGATIVE:
                    yield finding("IST0171", one.key, path, kind, reason, unstructured.text(condition, "message"))


def patches(objects: ObjectSet) -> Iterator[Finding]:
    """Patches of which the control plane says in the status that they match nothing."""
    for one in objects.of("EnvoyFilter"):
        for path, condition in _conditions(one):
            message = unstructured.text(condition, "message")
            for part in message.split("; "):
                if part.endswith(_NOTHING):
                    yield finding("SAIL1110", one.key, path, part.removesuffix(_NOTHING))


def _conditions(one: Document) -> Iterator[tuple[str, dict[str, object]]]:
    status = unstructured.mapping(one.body, "status")
    for index, condition in unstructured.objects(status, "conditions"):
        yield f"status.conditions[{index}]", condition
    for field in ("parents", "listeners", "ancestors"):
        for place, part in unstructured.objects(status, field):
            for index, condition in unstructured.objects(part, "conditions"):
                yield f"status.{field}[{place}].conditions[{index}]", condition
