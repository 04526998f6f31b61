"""A server of secrets that is somebody else's, such as SPIRE's agent: a UNIX socket in a volume of the proxy's container.

As in Istio, a proxy whose volume has such a socket, and is answered there when it starts, gets its certificate (`default`) and the
roots to trust (`ROOTCA`) from it. Envoy connects by itself, since such servers look at who connects. The agent must not sign for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

import grpc

from .mounted_files import MountedFiles

log = logging.getLogger(__name__)

FOLDER = "/var/run/secrets/workload-spiffe-uds"
METADATA = {"SAILCLOTH_SDS": "external"}
"""The node metadata of a proxy whose certificate is not from the agent: it still gets certificates in files from the agent."""
_ANSWER_S = 2.0


def path(env: Mapping[str, str]) -> str:
    """The socket's path in the container; its name is in WORKLOAD_IDENTITY_SOCKET_FILE, as in Istio."""
    return f"{FOLDER}/{env.get('WORKLOAD_IDENTITY_SOCKET_FILE') or 'socket'}"


async def answers(files: MountedFiles, socket: str) -> bool:
    """Whether there is a socket at which something speaks gRPC."""
    try:
        fd = files.open(socket)
    except OSError:
        return False
    try:
        async with grpc.aio.insecure_channel(f"unix:/proc/self/fd/{fd}") as channel, asyncio.timeout(_ANSWER_S):
            await channel.channel_ready()
    except TimeoutError:
        log.warning(
            "%s does not answer within %g s: the proxy gets its certificate from the mesh's CA", socket, _ANSWER_S
        )
        return False
    finally:
        os.close(fd)
    return True
