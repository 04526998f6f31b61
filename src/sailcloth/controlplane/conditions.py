"""Kubernetes conditions. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]


def condition(
    kind: str, holds: bool, reason: str, message: str, generation: int, before: Iterable[Object], now: dt.datetime
) -> Object:
    """One condition. `lastTransitionTime` is that of the condition of the same type in `before` if its status is the same."""
    status = "True" if holds else "False"
    known = next((c for c in before if c.get("type") == kind and c.get("status") == status), {})
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": known.get("lastTransitionTime") or timestamp(now),
    }


def timestamp(now: dt.datetime) -> str:
    """A moment as Kubernetes writes it, in whole seconds."""
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
