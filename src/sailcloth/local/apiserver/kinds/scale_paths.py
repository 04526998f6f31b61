"""Where a kind keeps its replicas, for the scale subresource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..unstructured import Unstructured


@dataclass(frozen=True)
class ScalePaths:
    """Where a resource keeps its replicas; the selector may be a LabelSelector or its text."""

    spec: tuple[str, ...] = ("spec", "replicas")
    status: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")


def paths(given: Unstructured) -> ScalePaths:
    """From a definition's `subresources.scale`."""

    def steps(text: Any) -> tuple[str, ...]:
        return tuple(str(text or "").strip(".").split(".")) if text else ()

    return ScalePaths(
        steps(given.get("specReplicasPath")),
        steps(given.get("statusReplicasPath")),
        steps(given.get("labelSelectorPath")),
    )
