"""Subsets of DestinationRules: defined twice, without labels, or with a policy that never applies."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import visibility

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet
from .virtual_services import destinations


def _subsets(rule: Document) -> Iterator[tuple[int, str, dict[str, object]]]:
    for index, subset in unstructured.objects(rule.spec, "subsets"):
        yield index, unstructured.text(subset, "name"), subset


def duplicates(objects: ObjectSet) -> Iterator[Finding]:
    """Subsets of one host that several rules of a namespace define for the same clients."""
    defining: dict[tuple[str, str, str], list[tuple[Document, int]]] = {}
    for rule in objects.of("DestinationRule"):
        if "workloadSelector" in rule.spec:
            continue
        host = objects.host(unstructured.text(rule.spec, "host"), rule.key.namespace)
        for index, name, _ in _subsets(rule):
            defining.setdefault((rule.key.namespace, host, name), []).append((rule, index))
    for (_, host, name), found in defining.items():
        for rule, index in found if len({id(r) for r, _ in found}) > 1 else ():
            names = sorted({r.key.name for r, _ in found if _share(objects, r, rule)})
            if len(names) > 1:
                yield finding("SAIL1006", rule.key, f"spec.subsets[{index}]", names, name, host)


def _share(objects: ObjectSet, a: Document, b: Document) -> bool:
    """Whether some namespace sees both rules."""
    seen = [
        set(
            visibility.exported_to(
                unstructured.texts(r.spec, "exportTo"), r.key.namespace, objects.config.destination_export
            )
        )
        for r in (a, b)
    ]
    return any("*" in s for s in seen) or bool(seen[0] & seen[1])


def without_labels(context: Context, rule: Document) -> Iterator[Finding]:
    """Subsets that are the whole host."""
    for index, name, subset in _subsets(rule):
        if not unstructured.mapping(subset, "labels"):
            yield finding("SAIL1007", rule.key, f"spec.subsets[{index}]", name)


def unused(objects: ObjectSet) -> Iterator[Finding]:
    """Policies of subsets that no route leads to: a subset's policy applies to explicit routes only."""
    used = {
        (objects.host(unstructured.text(d, "host"), rule.key.namespace), unstructured.text(d, "subset"))
        for rule in objects.of("VirtualService")
        for _, d in destinations(rule)
    }
    for rule in objects.of("DestinationRule"):
        host = objects.host(unstructured.text(rule.spec, "host"), rule.key.namespace)
        for index, name, subset in _subsets(rule):
            applied = (host, name) in used or (host.startswith("*") and any(s == name for _, s in used))
            if unstructured.mapping(subset, "trafficPolicy") and not applied:
                yield finding("SAIL1102", rule.key, f"spec.subsets[{index}].trafficPolicy", name)
