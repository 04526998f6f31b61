"""`python -m benchmarks.pair_enter PID CPU PROGRAM...`: becomes a program in the network namespace of a process, on one CPU.

What `nsenter --net` does, and for an ordinary user's cluster the user namespace first. The program ends with its parent.
"""

from __future__ import annotations

import os
import sys

from sailcloth.lib import namespaces as ns


def enter(pid: int) -> None:
    """Join the network of a process. Raises OSError if this user may not."""
    if os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"):
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        ns.setns(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY), ns.NEWUSER)
    else:
        network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    ns.setns(network, ns.NEWNET)


if __name__ == "__main__":
    enter(int(sys.argv[1]))
    os.sched_setaffinity(0, {int(sys.argv[2])})
    ns.die_with_parent()
    os.execvp(sys.argv[3], sys.argv[3:])
