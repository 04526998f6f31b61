"""Two PID namespaces of a pod: its PID 1 and its proxy are in one, the application's containers in another below it.

An application can therefore neither name nor trace its proxy, whose memory holds the workload's key, nor see the proxy's mounts
below /proc. The containers of an application share theirs, as with shareProcessNamespace.
"""

from __future__ import annotations

import os
import signal

from sailcloth.lib import namespaces as ns


class PidNamespaces:
    """Chooses the PID namespace of the next process that is forked."""

    def __init__(self) -> None:
        self._pod = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        ns.unshare(ns.NEWPID)
        if os.fork() == 0:
            _reap()
        self._application = os.open("/proc/self/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)

    def choose(self, proxy: bool) -> None:
        ns.setns(self._pod if proxy else self._application, ns.NEWPID)


def _reap() -> None:
    """Be PID 1 of the application: processes whose parents are gone are reaped here. Never returns."""
    try:
        ns.set_dumpable(False)
        os.closerange(0, 4096)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            signal.pause()
    finally:
        os._exit(1)
