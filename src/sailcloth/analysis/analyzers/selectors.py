"""Sidecars and Telemetries of which one object holds for a workload: several that select it, and selectors of no workload."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import injection

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet, Workload, label_text

REDIRECTION = "ambient.istio.io/redirection"
_FIELDS = {"Sidecar": ("workloadSelector", "labels"), "Telemetry": ("selector", "matchLabels")}
_CONFLICT = {"Sidecar": "IST0110", "Telemetry": "IST0159"}
_SEVERAL = {"Sidecar": "IST0111", "Telemetry": "IST0160"}


def of(one: Document) -> dict[str, str]:
    """The labels that a Sidecar or Telemetry selects; empty for its whole namespace."""
    return unstructured.labels(one.spec, *_FIELDS[one.key.kind])


def selects(context: Context, one: Document) -> Iterator[Finding]:
    """A selector of no workload."""
    attached = one.spec.get("targetRefs") or "targetRef" in one.spec
    if of(one) and not attached and not context.selects(of(one), one.key.namespace):
        at = f"spec.{_FIELDS[one.key.kind][0]}"
        yield finding("IST0101", one.key, at, "selector", label_text(of(one)))


def conflicts(objects: ObjectSet, kind: str) -> Iterator[Finding]:
    """Objects with a selector that selects a workload which another object of the namespace selects."""
    selecting: dict[tuple[str, str], list[Document]] = {}
    selected: dict[int, list[Workload]] = {}
    for one in objects.of(kind):
        if not of(one) or unstructured.items(one.spec, "targetRefs") or "targetRef" in one.spec:
            continue
        selected[id(one)] = objects.selected(of(one), one.key.namespace)
        for pod in selected[id(one)]:
            selecting.setdefault((pod.namespace, pod.document.key.name), []).append(one)
    for one in objects.of(kind):
        for pod in selected.get(id(one), []):
            same = selecting[(pod.namespace, pod.document.key.name)]
            if len(same) > 1:
                names, at = sorted(s.key.name for s in same), f"spec.{_FIELDS[kind][0]}"
                yield finding(_CONFLICT[kind], one.key, at, names, one.key.namespace, pod.document.key.name)
                break


def without_selector(objects: ObjectSet, kind: str) -> Iterator[Finding]:
    """Several objects for a whole namespace."""
    by_namespace: dict[str, list[Document]] = {}
    for one in objects.of(kind):
        if not of(one) and not unstructured.items(one.spec, "targetRefs") and "targetRef" not in one.spec:
            by_namespace.setdefault(one.key.namespace, []).append(one)
    for namespace, same in by_namespace.items():
        for one in same if len(same) > 1 else ():
            yield finding(_SEVERAL[kind], one.key, "metadata.name", sorted(s.key.name for s in same), namespace)


def sidecars(objects: ObjectSet) -> Iterator[Finding]:
    """Sidecars: conflicts, and those for workloads of ambient mode, which have none."""
    yield from conflicts(objects, "Sidecar")
    yield from without_selector(objects, "Sidecar")
    for one in objects.of("Sidecar"):
        labels = objects.namespace_labels(one.key.namespace)
        ambient = labels.get(injection.MODE) == "ambient" and not injection.of_namespace(labels)
        if of(one):
            pods = objects.selected(of(one), one.key.namespace)
            ambient = any(p.annotations.get(REDIRECTION) == "enabled" for p in pods)
        if ambient:
            yield finding("IST0167", one.key, "spec", "the workloads are in ambient mode, which has no sidecars")


def telemetries(objects: ObjectSet) -> Iterator[Finding]:
    """Telemetries that select the same workload."""
    yield from conflicts(objects, "Telemetry")


def namespace_telemetries(objects: ObjectSet) -> Iterator[Finding]:
    """Several Telemetries for one namespace."""
    yield from without_selector(objects, "Telemetry")
