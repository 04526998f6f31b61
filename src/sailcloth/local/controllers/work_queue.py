"""The queue of one controller: `lib.work_queue` with the errors that storage and validation have.

A controller shares its process with the API server, so an error that nobody expects is logged and ends no queue.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from sailcloth.lib import work_queue
from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.storage import StorageError

log = logging.getLogger(__name__)

ObjectName = tuple[str, str]  # namespace, name
Reconcile = Callable[[str, str], Awaitable[float | None]]
"""Brings one object in line, by namespace and name. Returns seconds after which it is due again, None for never."""


class WorkQueue(work_queue.WorkQueue[ObjectName]):
    """`reconcile` is called for every name that is added; failures are tried again after pauses that double."""

    def __init__(self, name: str, reconcile: Reconcile) -> None:
        self._name_of_kind, self._object = name, reconcile
        super().__init__(
            self._once,
            name=name,
            retry=(StatusError, StorageError),
            backoff=work_queue.Backoff(0.1, 30.0),
        )

    async def _once(self, key: ObjectName) -> None:
        try:
            due = await self._object(*key)
        except (StatusError, StorageError):
            raise
        except Exception:
            log.exception("%s %s/%s", self._name_of_kind, *key)
            return
        if due:
            self.add(key, due)
