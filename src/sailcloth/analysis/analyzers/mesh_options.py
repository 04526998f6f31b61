"""Options of the mesh and of proxies: those that cannot be read, and those without effect."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.analysis import findings
from sailcloth.api.meta import Finding, Key

from .catalogue import finding
from .objects import ObjectSet


def mesh(objects: ObjectSet) -> Iterator[Finding]:
    """The options in the ConfigMap of the control plane."""
    one = objects.get("ConfigMap", objects.root, "istio")
    if one is not None:
        yield from _catalogued(one.key, findings.of_options(one.key, one.body))


def proxies(objects: ObjectSet) -> Iterator[Finding]:
    """The annotations with options of pods and pod templates."""
    for workload in (*objects.live, *objects.templates):
        key = workload.document.key
        yield from _catalogued(key, findings.of_annotation(key, workload.document.body))


def _catalogued(key: Key, found: list[Finding]) -> Iterator[Finding]:
    for one in found:
        unread = one.code == findings.UNREAD_OPTION
        text = one.path.rpartition("]." if "]." in one.path else "data.mesh.")[2] if unread else one.text
        yield finding(one.code, key, one.path, text, fix=one.fix)
