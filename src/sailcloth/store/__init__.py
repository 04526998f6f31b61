"""Sources of typed objects. The only one today is a Kubernetes API server.

Must not judge objects: an object that does not fit its type is passed on as a `Finding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sailcloth.api.meta import Finding, Key, Object

Change = Callable[[Key, Object | Finding | None], None]
"""(key, object): a typed object, None when it was deleted, a Finding when it does not match its kind's schema."""


class Source(Protocol):
    """A stream of typed objects: all existing objects, then every change."""

    async def run(self, change: Change) -> None:
        """Report objects until cancelled. Order within one object is kept; equal objects may be reported again."""

    async def synced(self) -> None:
        """Wait until all objects that existed at the start have been reported."""
