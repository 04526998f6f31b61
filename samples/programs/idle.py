"""Waits for SIGTERM: a place to run commands in. Arguments are ignored."""

from __future__ import annotations

import signal

ENDS = {signal.SIGTERM, signal.SIGINT}

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # sigwait takes only blocked signals; others would kill
    print("idle until SIGTERM", flush=True)
    signal.sigwait(ENDS)
