"""The verdict on one object by configuration alone, before any proxy acknowledges it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition `Accepted` of an object, and additions to its `Programmed` message.

    notes: missing or overridden parts, although the object is in force.
    parts: (index, name) of parts of the object whose applications are counted over the proxies' resources.
    """

    accepted: bool = True
    reason: str = "Accepted"
    message: str = ""
    notes: tuple[str, ...] = ()
    parts: tuple[tuple[int, str], ...] = ()


ACCEPTED = Verdict()
