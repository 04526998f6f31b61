"""Answers the plugin at a UNIX socket that only root may use: sets up capture in the network namespace of a pod that starts.

One JSON object comes, `{namespace, name, uid, netns}`, and one goes: `{}`, or `{error}` with the reason that the kubelet shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import PODS

from . import pods

log = logging.getLogger(__name__)
_MOST = 1 << 16  # bytes of a request
_REQUEST_S = 15.0


class Server:
    """`namespaces`: the folder with the pods' network namespaces, at the path that the node has it."""

    def __init__(self, client: Client, namespaces: Path, container: str) -> None:
        self._client, self._namespaces, self._container = client, namespaces, container

    @contextlib.asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Serve as long as the context lasts. The socket of an earlier process is replaced."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)  # from the first moment on
        try:
            server = await asyncio.start_unix_server(self._serve, path, limit=_MOST)
        finally:
            os.umask(before)
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                request = json.loads(await reader.readline())
                await self.add(**{k: str(request[k]) for k in ("namespace", "name", "uid", "netns")})
            answer = {}
        except (ApiError, OSError, ValueError, TypeError, KeyError) as error:  # TimeoutError is an OSError
            answer = {"error": str(error) or "no answer of the API server in time"}
            log.warning("%s", answer["error"])
        with contextlib.suppress(OSError):  # the plugin has ended
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def add(self, namespace: str, name: str, uid: str, netns: str) -> None:
        """Set up capture for a pod that asks for it. Raises ApiError, OSError and ValueError."""
        pod = await self._client.get(PODS, name, namespace)
        if uid and pod["metadata"]["uid"] != uid:
            raise ValueError(f"there is another pod {namespace}/{name} now: {pod['metadata']['uid']}, not {uid}")
        rules = pods.wanted(pod, self._container)
        if rules is None:
            return
        path = Path(netns)
        if path.parent != self._namespaces:
            raise ValueError(
                f"the network namespace {netns} is not in {self._namespaces}: set cni.cniNetnsDir to its folder"
            )
        await asyncio.to_thread(pods.apply, path, rules)
        log.info("captured: %s/%s in %s", namespace, name, netns)
