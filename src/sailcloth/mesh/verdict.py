"""What configuration says of one object by itself, before any proxy has answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition `Accepted` of an object, and what its `Programmed` message adds.

    notes: what is lacking or overridden although the object is in force.
    parts: numbered parts of the object whose effect is counted over the proxies' resources, as (number, name).
    """

    accepted: bool = True
    reason: str = "Accepted"
    message: str = ""
    notes: tuple[str, ...] = ()
    parts: tuple[tuple[int, str], ...] = ()


ACCEPTED = Verdict()
