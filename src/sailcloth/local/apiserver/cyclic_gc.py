"""Cyclic garbage without long pauses. Objects of the cluster hold no cycles, and to walk all of them in search of some would
stop the server for a moment that grows with the cluster. So what is there after a while is set aside, and looked at again
only now and then.
"""

from __future__ import annotations

import gc

_FULL_EVERY = 50


class CyclicCollection:
    """Called again and again, after about the same number of writes."""

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
