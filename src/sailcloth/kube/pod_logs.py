"""Logs of several containers as one stream, ordered by time. Must not know what the containers are."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Source = tuple[Object, str]
"""A pod and the name of one of its containers."""
_BATCH_S = 0.3  # how long a followed line waits for older lines of other containers
_MAX_STREAMS = 200


@dataclass(frozen=True, order=True)
class Line:
    """One line. `time` is RFC 3339 in UTC, as the API writes it."""

    time: str
    namespace: str = field(compare=False)
    pod: str = field(compare=False)
    container: str = field(compare=False)
    text: str = field(compare=False)


@dataclass(frozen=True)
class LogOptions:
    """Which lines to read, as in PodLogOptions. None and zero: all."""

    follow: bool = False
    tail: int | None = None
    since_s: int = 0

    def query(self, container: str) -> dict[str, str]:
        out = {"container": container, "timestamps": "true"}
        out |= {"follow": "true"} if self.follow else {}
        out |= {"tailLines": str(self.tail)} if self.tail is not None else {}
        return out | ({"sinceSeconds": str(self.since_s)} if self.since_s else {})


def containers(pod: Object) -> list[str]:
    """Names of a pod's native sidecars and containers."""
    spec = pod["spec"]
    native = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [c["name"] for c in (*native, *spec["containers"])]


async def read(
    api: Any,
    sources: Iterable[Source],
    options: LogOptions,
    on_error: Callable[[str, str, Exception], None] | None = None,
) -> AsyncGenerator[Line, None]:
    """The lines of all containers. An error of a container is raised (ApiError, OSError), or given to `on_error` with the names of
    its pod and itself, and the others go on. Raises ValueError for too many containers."""
    listed = [(pod["metadata"], name) for pod, name in sources]
    if len(listed) > _MAX_STREAMS:
        raise ValueError(f"{len(listed)} containers; name fewer pods (at most {_MAX_STREAMS} containers)")
    streams = [_container(api, metadata, name, options) for metadata, name in listed]
    if on_error is not None:
        streams = [_reported(s, m["name"], name, on_error) for s, (m, name) in zip(streams, listed, strict=True)]
    merged = _live(streams) if options.follow else _sorted(streams)
    async with contextlib.aclosing(merged) as lines:
        async for line in lines:
            yield line


async def _reported(
    stream: AsyncGenerator[Line, None], pod: str, container: str, on_error: Callable[[str, str, Exception], None]
) -> AsyncGenerator[Line, None]:
    import aiohttp

    from .client import ApiError

    try:
        async for line in stream:
            yield line
    except (ApiError, OSError, aiohttp.ClientError) as error:
        on_error(pod, container, error)


async def _sorted(streams: list[AsyncGenerator[Line, None]]) -> AsyncGenerator[Line, None]:
    async def all_of(stream: AsyncGenerator[Line, None]) -> list[Line]:
        return [line async for line in stream]

    for line in heapq.merge(*await asyncio.gather(*(all_of(s) for s in streams))):
        yield line


async def _live(streams: list[AsyncGenerator[Line, None]]) -> AsyncGenerator[Line, None]:
    """Lines as they arrive, ordered within batches of `_BATCH_S`."""
    queue: asyncio.Queue[Line | Exception | None] = asyncio.Queue(10_000)

    async def pump(stream: AsyncGenerator[Line, None]) -> None:
        try:
            async for line in stream:
                await queue.put(line)
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.create_task(pump(stream)) for stream in streams]
    left = len(tasks)
    try:
        while left:
            batch = [await queue.get()]
            await asyncio.sleep(_BATCH_S)
            while not queue.empty():
                batch.append(queue.get_nowait())
            for item in batch:
                if isinstance(item, Exception):
                    raise item
            left -= sum(item is None for item in batch)
            for line in sorted(item for item in batch if isinstance(item, Line)):
                yield line
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _container(api: Any, metadata: Object, container: str, options: LogOptions) -> AsyncGenerator[Line, None]:
    import aiohttp

    from .client import refusal

    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with api.request("GET", path, params=options.query(container), timeout=timeout) as response:
        if response.status >= 400:
            raise refusal(response.status, await response.read())
        partial = b""
        async for chunk in response.content.iter_any():
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                yield _line(line, metadata, container)
        if partial:
            yield _line(partial, metadata, container)


def _line(raw: bytes, metadata: Object, container: str) -> Line:
    time, _, text = raw.decode(errors="replace").partition(" ")
    return Line(time, metadata["namespace"], metadata["name"], container, text)
