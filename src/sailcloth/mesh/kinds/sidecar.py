"""Sidecar: what a workload sees of the mesh; only one applies to a workload (`selection.levels`)."""

from __future__ import annotations

from sailcloth.api.sidecar import Sidecar

from .record import MeshKind


def _selector(sidecar: Sidecar) -> dict[str, str]:
    return sidecar.spec.workload_selector.labels if sidecar.spec.workload_selector is not None else {}


KIND = MeshKind(Sidecar, selector=_selector, caller_labels=_selector)
