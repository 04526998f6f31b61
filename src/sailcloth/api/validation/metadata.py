"""What holds for the metadata of all kinds."""

from __future__ import annotations

from sailcloth.api.meta import ObjectMeta

from . import codes
from .report import Report

_INTERNAL = "internal.istio.io/"


def check(report: Report, metadata: ObjectMeta) -> None:
    """Annotations with which the control plane marks objects that it made itself are not for users."""
    for name in metadata.annotations:
        if name.startswith(_INTERNAL):
            text = f"annotation {name} is reserved for the control plane"
            report.error(codes.RESERVED, f"metadata.annotations[{name}]", text, "Remove it.")
