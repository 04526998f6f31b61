"""What `kubectl get` prints: objects as meta.k8s.io/v1 Tables."""

from __future__ import annotations

from collections.abc import Sequence

from ..kinds.columns import NAME
from ..kinds.record import Column
from ..unstructured import Unstructured


def table(
    columns: Sequence[Column],
    objects: list[Unstructured],
    revision: str,
    *,
    heads: bool = True,
    include: str = "Metadata",
) -> Unstructured:
    """A meta.k8s.io/v1 Table. The name comes first, unless the columns have it somewhere else."""
    if not any(c[0] == "Name" for c in columns):
        columns = [NAME, *columns]
    rows = []
    for obj in objects:
        row: Unstructured = {"cells": [cell(obj) for _, _, _, cell in columns]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            metadata = obj["metadata"]
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        rows.append(row)
    out: Unstructured = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": None,
        "rows": rows,
    }
    if heads:
        out["columnDefinitions"] = [
            {"name": n, "type": t, "format": "name" if n == "Name" else "", "description": n, "priority": p}
            for n, t, p, _ in columns
        ]
    return out
