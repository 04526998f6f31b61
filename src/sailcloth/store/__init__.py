"""Where objects come from. One Protocol for any source; so far there is a Kubernetes API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sailcloth.api.meta import Finding, Key, Object

Change = Callable[[Key, Object | Finding | None], None]
"""(key, object): a typed object, None when it is gone, a Finding when it does not fit its kind."""


class Source(Protocol):
    """A stream of typed objects: everything that is there, then every change."""

    async def run(self, change: Change) -> None:
        """Report objects until cancelled. Order within one object is kept; equal objects may be reported again."""

    async def synced(self) -> None:
        """Wait until everything that was there at the start has been reported."""
