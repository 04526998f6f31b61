"""Kubernetes conditions (metav1.Condition). Must not do I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]


def condition(
    kind: str, met: bool, reason: str, message: str, generation: int, old_conditions: Iterable[Object], now: dt.datetime
) -> Object:
    """One condition. Keeps the `lastTransitionTime` of the condition in `old_conditions` with the same type and status."""
    status = "True" if met else "False"
    unchanged = next((c for c in old_conditions if c.get("type") == kind and c.get("status") == status), {})
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": unchanged.get("lastTransitionTime") or timestamp(now),
    }


def timestamp(now: dt.datetime) -> str:
    """A time in Kubernetes' format (RFC 3339, UTC, whole seconds)."""
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
