"""Holds back a process's own start: a cluster that starts needs its processors itself."""

from __future__ import annotations

import json
import os
import time

_WAIT_S = 30.0


def wait(config: str) -> None:
    """Until the file named by the setting `after` of a JSON file exists, or thirty seconds have passed. Blocks."""
    with open(config, "rb") as file:
        after = json.load(file).get("after", "")
    end = time.monotonic() + _WAIT_S
    while after and not os.path.exists(after) and time.monotonic() < end:
        time.sleep(0.1)
