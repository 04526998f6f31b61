"""The users of pods: which users of the host they are, and the user namespace that a pod's containers run in.

A cluster of root has a range of the host's users that own nothing; user N of a pod is the N-th of them. A cluster of an ordinary
user has that user alone, who is the pods' root. Files on disk have the owners that pods see (idmapped mounts).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sailcloth.lib import namespaces as ns

PER_CLUSTER = 65_536
_FIRST, _SLOTS = 524_288, 28_000  # the range that systemd keeps for containers: 524288 to 1879048191
PROXY = 1337  # Istio's user of proxies


def host_range(number: int) -> tuple[int, int]:
    """(first, how many) users of this process's user namespace that pods run as. `number` tells clusters of one host apart."""
    with open("/proc/self/uid_map") as file:
        ranges = [[int(word) for word in line.split()] for line in file]
    size = next((length for first, _, length in ranges if first == 0), 1)
    if size == 1:
        return 0, 1
    if size >= _FIRST + PER_CLUSTER * (_SLOTS + 1):
        return _FIRST + PER_CLUSTER * (number % _SLOTS), PER_CLUSTER
    return size // 2, min(size // 2, PER_CLUSTER)


@dataclass(frozen=True)
class PodUsers:
    """The users of one pod. `namespace` and `owners` are descriptors: its user namespace, and the one that maps files."""

    namespace: int
    owners: int
    first: int
    count: int

    def chown(self, path: str | int, uid: int = 0, gid: int = 0) -> None:
        """Give a file to a user of the pod."""
        if self.count > 1:
            os.chown(path, self.first + self._known(uid), self.first + self._known(gid))

    def options(self, options: str) -> str:
        """Mount options of a tmpfs that belongs to the pod's root."""
        return f"{options},uid={self.first},gid={self.first}" if self.count > 1 else options

    def enter(self, request: dict[str, Any]) -> None:
        """Become the user that a container asks for, in the pod's user namespace. All descriptors but the standard ones are closed."""
        uid, gid = int(request.get("uid") or 0), int(request.get("gid") or 0)
        if self.nested(request):
            ns.become(0, 0, [])
            ns.set_dumpable(True)  # otherwise the maps could not be written
            ns.show_as(uid, gid)
        else:
            ns.become(uid, gid, [int(g) for g in request.get("groups") or () if int(g) < self.count])

    def nested(self, request: dict[str, Any]) -> bool:
        """Whether a container's user has no number in the pod's user namespace, and gets one in another below it."""
        return max(int(request.get("uid") or 0), int(request.get("gid") or 0)) >= self.count

    def _known(self, number: int) -> int:
        return number if number < self.count else 0


def owners(first: int, count: int) -> int:
    """A user namespace for `namespaces.bind`. The host's root, who sets up mounts, is the user after the pods'; -1 if nothing
    is to be mapped."""
    return ns.new_user_namespace([(0, first, count), (count, 0, 1)])[0] if count > 1 else -1
