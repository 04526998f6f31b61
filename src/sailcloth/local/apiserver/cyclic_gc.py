"""Cyclic garbage collection without long pauses. Stored objects hold no cycles, and a full collection over them would pause the
server for a time that grows with the cluster. Long-lived objects are therefore frozen (`gc.freeze`), and collected rarely.
"""

from __future__ import annotations

import gc

_FULL_EVERY = 50


class CyclicCollection:
    """Collects cyclic garbage. The store calls it after every compaction."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self) -> None:
        self._calls += 1
        if self._calls % _FULL_EVERY:
            gc.collect(1)
        else:
            gc.unfreeze()
            gc.collect()
        gc.freeze()
