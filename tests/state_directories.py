"""Where the clusters of a test run keep their state."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

VARIABLE = "SAILCLOTH_TEST_STATES"


def state_directory() -> Path:
    """A new state directory. Its path is short, because a UNIX socket's may have 107 bytes at most."""
    return Path(tempfile.mkdtemp(dir=os.environ[VARIABLE]))
