"""What the console reads: the cluster by watches, metrics by PromQL, and the control plane's sync state.

All users share what is read here, with the console's own rights; `access` decides what of it a user may see. Must not know what a page
shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from sailcloth.analysis import traffic_graph
from sailcloth.api.kinds import MESH_KINDS
from sailcloth.kube import ApiError, Client
from sailcloth.kube.informer import Informer
from sailcloth.kube.resources import CONFIGMAPS, DEPLOYMENTS, ENDPOINTSLICES, NAMESPACES, PODS, SERVICES, Resource

log = logging.getLogger(__name__)

Object = dict[str, Any]
Sample = tuple[Mapping[str, str], float]
Series = tuple[Mapping[str, str], Sequence[tuple[float, float]]]
"""Labels, and values by time."""
_CHANGES = 20  # of the control plane's log, that pages show
_OPTIONS_S = 30.0
_SYNC_S = 2.0  # between looks at the control plane's sync state
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
_MAX_BODY = 64 << 20
_WORKLOADS = (
    DEPLOYMENTS,
    Resource("apps", "v1", "statefulsets", "StatefulSet"),
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
)
MESH = {
    kind.name: Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)
    for kind in MESH_KINDS
    if kind.conditions
}


LISTED = (NAMESPACES, PODS, SERVICES, *_WORKLOADS)
"""The resources of `Cluster.lists`, but for EndpointSlices, which nobody writes and nothing is found in."""


class Unavailable(Exception):
    """A source does not answer. The text says which, and what to do."""


class Cluster:
    """The objects of the cluster, kept current by watches."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._informers: dict[str, Informer[Object]] = {}
        self.version = 0  # rises with each change
        self._options = ("", -math.inf)  # the MeshConfig, and when it was read

    def lists(self) -> dict[str, list[Object]]:
        """Objects by the plurals of their kinds."""
        return {plural: list(objects.values()) for plural, objects in self._objects.items() if plural not in MESH}

    def config(self) -> list[Object]:
        """Objects of the mesh."""
        return [obj for kind in MESH for obj in self._objects.get(kind, {}).values()]

    @property
    def problems(self) -> list[str]:
        """Kinds that cannot be read, and why."""
        return sorted(f"{name}: {i.problem}" for name, i in self._informers.items() if i.problem)

    async def options(self) -> str:
        """The MeshConfig, in YAML. Raises ApiError, OSError."""
        config_map = await self.client.get(CONFIGMAPS, "istio", "istio-system")
        return str((config_map.get("data") or {}).get("mesh") or "")

    async def recent_options(self) -> str:
        """The MeshConfig, at most half a minute old; the last one while it cannot be read."""
        text, read = self._options
        if time.monotonic() - read > _OPTIONS_S:
            with contextlib.suppress(ApiError, OSError):
                text = await self.options()
            self._options = (text, time.monotonic())
        return text

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for resource in (*LISTED, ENDPOINTSLICES):
                group.create_task(self._watch(resource.plural, resource, {}))
            for kind, resource in MESH.items():
                group.create_task(self._watch(kind, resource, {"kind": kind, "apiVersion": resource.api_version}))

    async def _watch(self, name: str, resource: Resource, head: Object) -> None:
        objects = self._objects[name] = {}
        informer = self._informers[name] = Informer(self.client, resource, lambda raw: _slim(orjson.loads(raw)))

        def on_event(event: str, obj: Object, key: tuple[str, str]) -> None:
            if event == "DELETED":
                objects.pop(key, None)
            else:
                objects[key] = {**obj, **head}
            self.version += 1

        await informer.run(on_event)


def _slim(obj: Object) -> Object:
    """An object without what no page shows."""
    metadata = obj.get("metadata") or {}
    metadata.pop("managedFields", None)
    (metadata.get("annotations") or {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return obj


@dataclass(frozen=True)
class Sync:
    """The control plane's connected proxies: `stale` have not acknowledged everything; both are POD.NAMESPACE. `version`: its version;
    empty if it does not answer. `rows`, `changes`, `authority`: its pages `syncz`, `changez` and `caz`."""

    proxies: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()
    version: str = ""
    rows: Sequence[Object] = field(default=(), compare=False)
    changes: Sequence[Object] = field(default=(), compare=False)
    authority: Object = field(default_factory=dict, compare=False)


class ControlPlane:
    """The sync state of proxies, from a control plane's debug pages."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")
        self.sync = Sync()

    async def config_dump(self, proxy: str) -> Object:
        """What a proxy (POD.NAMESPACE) is given, in the shape of Envoy's config dump; it has no secrets. Raises Unavailable."""
        return dict(await _get(self._session, f"{self._url}/debug/config_dump?proxyID={proxy}"))

    async def last_change(self, kind: str, namespace: str, name: str) -> Object | None:
        """How the last change of an object reached the proxies, as a row of `/debug/changez`; None if it is too long ago, or the control
        plane does not answer."""
        query = urlencode({"kind": kind, "namespace": namespace, "name": name, "limit": 1})
        try:
            rows = await _get(self._session, f"{self._url}/debug/changez?{query}")
        except Unavailable:
            return None
        return rows[0] if rows else None

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                rows, build, changes, authority = [
                    await _get(self._session, self._url + path)
                    for path in (
                        "/debug/syncz",
                        "/version?format=json",
                        f"/debug/changez?limit={_CHANGES}",
                        "/debug/caz",
                    )
                ]
                stale = frozenset(r["name"] for r in rows if set(r["types"].values()) & {"STALE", "ERROR"})
                proxies = frozenset(r["name"] for r in rows)
                latest = Sync(proxies, stale, str(build.get("version") or "unknown"), rows, changes, authority)
            except (Unavailable, KeyError, TypeError, AttributeError) as error:
                log.debug("sync state: %s", error)
                latest = Sync()
            self.sync = latest
            await asyncio.sleep(_SYNC_S)


class AccessLogs:
    """The store of access logs."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")

    async def received(self, namespace: str, workload: str, since: str = "1h") -> list[Object]:
        """The latest requests that a workload received, at most ten thousand. Raises Unavailable."""
        return await self._search(workload=f"{namespace}/{workload}", direction="in", since=since)

    async def sent(self, since: str = "1h") -> list[Object]:
        """The latest requests that all workloads sent, at most ten thousand. Raises Unavailable."""
        return await self._search(direction="out", since=since)

    async def _search(self, **query: str) -> list[Object]:
        query["limit"] = "10000"
        found = await _get(
            self._session, f"{self._url}/api/v1/requests?{urlencode(query)}", name="the store of access logs"
        )
        if not isinstance(found, dict) or "requests" not in found:
            raise Unavailable(f"the store of access logs answers: {found}")
        return list(found["requests"])


@dataclass(frozen=True)
class Times:
    """The times of a range query, in seconds since the epoch."""

    start: float
    end: float
    step: float

    @property
    def all(self) -> list[float]:
        return [self.start + self.step * i for i in range(round((self.end - self.start) / self.step) + 1)]


class Metrics:
    """A Prometheus' query API. Equal queries of one moment are sent once. now: seconds since the epoch."""

    def __init__(self, session: aiohttp.ClientSession, url: str, now: Callable[[], float] = time.time) -> None:
        self._session, self._url, self._now = session, url.rstrip("/"), now
        self._graphs: dict[tuple[str, float], asyncio.Task[traffic_graph.Graph]] = {}

    async def graph(self, window: str, at: float | None = None) -> traffic_graph.Graph:
        """The traffic of the whole mesh. Without a moment it is at most five seconds old. Raises Unavailable."""
        moment = at if at is not None else self._now() // _SCRAPE_S * _SCRAPE_S
        return await self._shared((window, moment), lambda: self._read(traffic_graph.queries(window), at))

    async def known(self, at: float | None = None) -> traffic_graph.Graph:
        """Who called whom in the six hours before, without times; at most a minute old. Raises Unavailable."""
        counts = {n: q for n, q in traffic_graph.queries(_KNOWN).items() if n in ("requests", "sent", "received")}
        moment = at if at is not None else self._now() // _KNOWN_S * _KNOWN_S
        return await self._shared((_KNOWN, -moment), lambda: self._read(counts, at))

    async def _shared(
        self, key: tuple[str, float], read: Callable[[], Coroutine[Any, Any, traffic_graph.Graph]]
    ) -> traffic_graph.Graph:
        if key not in self._graphs:
            while len(self._graphs) >= _KEPT_GRAPHS:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[key] = asyncio.create_task(read())
        try:
            return await asyncio.shield(self._graphs[key])
        except Unavailable:
            self._graphs.pop(key, None)
            raise

    async def _read(self, queries: Mapping[str, str], at: float | None) -> traffic_graph.Graph:
        answers = await asyncio.gather(*(self.query(text, at) for text in queries.values()))
        return traffic_graph.graph(**dict(zip(queries, answers, strict=True)))

    async def query(self, expression: str, at: float | None = None) -> Sequence[Sample]:
        """The samples of an instant query. Raises Unavailable."""
        form = {"query": expression, **({"time": f"{at:.3f}"} if at is not None else {})}
        body = await _get(self._session, f"{self._url}/api/v1/query", form, "Prometheus")
        try:
            return traffic_graph.samples(body)
        except ValueError as error:
            raise Unavailable(str(error)) from None

    async def range(self, expression: str, times: Times) -> Sequence[Series]:
        """The series of a range query. Raises Unavailable."""
        form = {
            "query": expression,
            "start": f"{times.start:.3f}",
            "end": f"{times.end:.3f}",
            "step": f"{times.step:.3f}",
        }
        body = await _get(self._session, f"{self._url}/api/v1/query_range", form, "Prometheus")
        try:
            if body["status"] != "success":
                raise Unavailable(f"Prometheus: {body.get('error') or 'no answer'}")
            return [(one["metric"], [(float(t), float(v)) for t, v in one["values"]]) for one in body["data"]["result"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise Unavailable("what answers is no Prometheus") from None


_SCRAPE_S = 5.0
_KNOWN, _KNOWN_S = "6h", 60.0  # what edges without traffic are known from, and how old that may be
_KEPT_GRAPHS = 64


class Tracing:
    """A tracing system with Jaeger's query API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")

    async def find(self, service: str, start: float, end: float, limit: int, errors: bool) -> list[Object]:
        """Traces with spans of a service in some time (seconds since the epoch), in Jaeger's JSON. Raises Unavailable."""
        asked = {"service": service, "start": f"{start * 1e6:.0f}", "end": f"{end * 1e6:.0f}", "limit": str(limit)}
        asked |= {"tags": '{"error":"true"}'} if errors else {}
        return self._data(
            await _get(self._session, f"{self._url}/api/traces?{urlencode(asked)}", name="the tracing system")
        )

    async def trace(self, identifier: str) -> Object | None:
        """One trace; None if there is none. identifier: hexadecimal. Raises Unavailable."""
        found = self._data(await _get(self._session, f"{self._url}/api/traces/{identifier}", name="the tracing system"))
        return found[0] if found else None

    @staticmethod
    def _data(body: Any) -> list[Object]:
        if not isinstance(body, dict) or "data" not in body:
            raise Unavailable("what answers is no tracing system with Jaeger's API")
        return [one for one in body["data"] or () if one.get("spans")]


async def _get(
    session: aiohttp.ClientSession, url: str, form: Mapping[str, str] | None = None, name: str = "the control plane"
) -> Any:
    """The JSON of an answer; a form is posted. name: of who answers. Raises Unavailable."""
    try:
        method: Awaitable[Any] = session.request("POST" if form else "GET", url, data=form, timeout=_TIMEOUT)
        async with await method as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > _MAX_BODY:
                    raise Unavailable(f"{name} answers with more than {_MAX_BODY >> 20} MiB; ask for less")
        return orjson.loads(body)
    except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
        raise Unavailable(f"{name} does not answer at {url.partition('/api/')[0]}: {type(error).__name__}") from None
