"""Validates the metadata of all kinds."""

from __future__ import annotations

from sailcloth.api.meta import ObjectMeta

from . import codes
from .report import Report

_INTERNAL = "internal.istio.io/"


def check(report: Report, metadata: ObjectMeta) -> None:
    """Reject annotations that are reserved for objects that the control plane generates."""
    for name in metadata.annotations:
        if name.startswith(_INTERNAL):
            text = f"annotation {name} is reserved for the control plane"
            report.error(codes.RESERVED, f"metadata.annotations[{name}]", text, "Remove it.")
