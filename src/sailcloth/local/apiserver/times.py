"""Time as Kubernetes writes it."""

from __future__ import annotations

import time
from functools import lru_cache


def now() -> str:
    """RFC 3339 in UTC, whole seconds."""
    return _text(int(time.time()))


@lru_cache(maxsize=1)
def _text(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
