"""WorkloadEntry: indexed by its labels, for selectors of services."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Key
from sailcloth.api.service_entry import WorkloadEntry
from sailcloth.mesh.model import MeshConfig

from .record import MeshKind, Slice


def by_label(namespace: str, pair: tuple[str, str] | None) -> Slice[WorkloadEntry]:
    """WorkloadEntries of a namespace with a label; None: all of them."""
    return Slice(("WorkloadEntry", "label", namespace, pair))


def labels(entry: WorkloadEntry) -> dict[str, str]:
    """Labels that selectors match: those of `spec.labels` and of the object's metadata, as in Istio."""
    return {**entry.metadata.labels, **entry.spec.labels}


def _slices(key: Key, entry: WorkloadEntry, config: MeshConfig) -> Iterator[Slice[WorkloadEntry]]:
    for pair in (None, *labels(entry).items()):
        yield by_label(key.namespace, pair)


KIND = MeshKind(WorkloadEntry, slices=_slices)
