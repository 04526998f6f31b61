"""A terminal as its user reads it."""

from __future__ import annotations

import os
import re
import select
import time


def shows(fd: int, pattern: str, seconds: float = 40) -> str:
    """What the terminal shows, up to and with what is waited for."""
    said, end = "", time.monotonic() + seconds
    while not re.search(pattern, said):
        left = end - time.monotonic()
        assert left > 0, f"the terminal did not show {pattern!r}: {said!r}"
        if select.select([fd], [], [], left)[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:
                data = b""
            assert data, f"the terminal ended before it showed {pattern!r}: {said!r}"
            said += data.decode(errors="replace")
    return said
