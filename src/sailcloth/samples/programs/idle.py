"""Waits for SIGTERM: a place to run commands in."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
