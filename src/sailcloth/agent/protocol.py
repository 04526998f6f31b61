"""The interface between a node and the mesh's agent: the node starts processes, the agent prepares and drains proxies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .mounted_files import MountedFiles
from .netns import PodSockets

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13


@dataclass(frozen=True)
class ProxyProcess:
    """How to start a proxy. `mounts`: the paths of its container's volumes that it needs."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    caps: tuple[int, ...] = (CAP_NET_ADMIN, CAP_NET_RAW)
    workers: int = 1  # each listens on sockets of its own
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PodFiles:
    """Where a pod's files are, as this process sees them. `home`: for the proxy's socket and bootstrap, at the same path for Envoy.
    `mounted`: what the proxy's container can read."""

    home: Path
    resolv_conf: Path
    mounted: MountedFiles


class NodeAgent(Protocol):
    """Serves the proxies of all pods of a node."""

    async def prepare(
        self, pod: dict[str, Any], container: dict[str, Any], env: dict[str, str], files: PodFiles, sockets: PodSockets
    ) -> ProxyProcess:
        """Called before a proxy container starts (again), and for one that runs when this process starts."""

    async def drain(self, uid: str, grace_s: float) -> None:
        """Called before SIGTERM to the proxy: lets requests under way finish."""

    async def roots_changed(self) -> None:
        """The ConfigMaps with the mesh's root certificates and revocation lists may have changed."""

    async def remove(self, uid: str) -> None:
        """The pod is gone."""
