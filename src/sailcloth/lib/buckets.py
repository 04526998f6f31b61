"""Distributes names over a fixed number of buckets, so that a changed name invalidates only what depends on its bucket."""

from __future__ import annotations

import zlib
from functools import lru_cache

BUCKETS = (
    64  # about the square root of the number of names in a large mesh: a change costs all buckets, and the names in one
)


@lru_cache(maxsize=1 << 15)
def bucket(name: str) -> int:
    """The bucket of a name, 0 to BUCKETS - 1. Depends on the name alone."""
    return zlib.crc32(name.encode()) % BUCKETS
