"""Names in a fixed number of buckets, so that what depends on one bucket is left alone when a name in another changes."""

from __future__ import annotations

import zlib

BUCKETS = 64  # about the square root of a large mesh: a change looks at the buckets, and then at the names in one


def bucket(name: str) -> int:
    """The bucket of a name; it stays there whatever comes and goes beside it."""
    return zlib.crc32(name.encode()) % BUCKETS
