"""A whole control plane in memory, for tests: apply manifests, connect proxies, read statuses, advance the clock.

    async with World() as world:
        proxy = await world.connect({"labels": {"app": "client"}})
        await world.apply(SERVICE, RULE)
        assert "outbound|80||reviews.default.svc.cluster.local" in proxy.resources(CLUSTER)
        assert world.condition(Key("VirtualService", "default", "reviews"), "Programmed")["message"] == "1/1 proxies"

It runs the real control plane. Only the API server and Envoy are replaced: by a dictionary of statuses, and by clients that
acknowledge every response unless `reject` says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.analysis import manifests, offline
from sailcloth.api.kinds import Kind
from sailcloth.api.meta import Finding, Key
from sailcloth.controlplane.config_updates import ConfigUpdates
from sailcloth.controlplane.connected_proxies import ConnectedProxies, ConnectedProxy
from sailcloth.controlplane.secret_access import SecretAccess
from sailcloth.controlplane.status import StatusWriter
from sailcloth.mesh.registry import Mesh
from sailcloth.view.proxy import Proxy
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import Connection
from sailcloth.xds.stream import Stream
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

from .clock import VirtualClock

_SETTLED_S = 0.5  # longer than the delay of the status writer
_START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class WorldProxy:
    """A discovery client that subscribes to everything. `reject(type_url, names)` returns the error of a NACK, or an empty text for
    an ACK. While `acknowledges` is False it sends neither."""

    def __init__(self, client: ConnectedProxy) -> None:
        self.client = client
        self.stream = client.connection.stream
        self.acknowledges = True
        self.reject: Callable[[str, frozenset[str]], str] = lambda type_url, names: ""
        self._bodies: dict[str, dict[str, bytes]] = {}
        self.stream.on_delta(CLUSTER)
        self.stream.on_delta(LISTENER)
        for url in (ENDPOINTS, ROUTES):
            self.stream.on_delta(url, subscribe=["*"])

    def resources(self, type_url: str) -> dict[str, bytes]:
        """The serialised resources that the proxy has acknowledged, by name."""
        return self._bodies.setdefault(type_url, {})

    def exchange(self, now: float) -> bool:
        """Receive and acknowledge responses. Returns whether there were any."""
        if not self.acknowledges:
            return False
        messages = self.stream.pump(now)
        for message in messages:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
            error = self.reject(response.type_url, frozenset(r.name for r in response.resources))
            if not error:
                resources = self.resources(response.type_url)
                resources |= {r.name: r.resource.value for r in response.resources}
                for name in response.removed_resources:
                    resources.pop(name, None)
            self.stream.on_delta(response.type_url, nonce=response.nonce, error=error)
        return bool(messages)


class World:
    """Use as `async with`. `statuses`: the written statuses; `writes`: their number; `fail(key)` is called before each write and may
    raise."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.mesh = Mesh()
        self.connected = ConnectedProxies(self.mesh)
        self.statuses: dict[Key, dict[str, Any]] = {}
        self.writes = 0
        self.fail: Callable[[Key], None] = lambda key: None
        self.status = StatusWriter(self.connected, self, self.clock, self._now)
        self.updates = ConfigUpdates(self.mesh, self.connected, self.status, "istio-system")
        self.connected.on_result = lambda _client, _type_url, error: self.updates.proxy_responded(error)
        self.status.on_programmed = self.updates.refusals.in_force
        self.connected.on_holders = self.status.holders_changed
        self.proxies: list[WorldProxy] = []
        self._cache = ResponseCache()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> World:
        self._task = asyncio.create_task(self.status.run())
        self.updates.synced()
        self.status.start_writing()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def apply(self, *texts: str) -> None:
        """Apply manifests (YAML texts). Objects that do not match their kind's schema are applied as findings, as in the control
        plane."""
        objects, findings = manifests.load(texts)
        for key, obj in objects:
            self.updates.change(key, obj)
        for finding in findings:
            self.updates.change(finding.resource, finding)
        await self.settle()

    async def delete(self, *keys: Key) -> None:
        """Delete objects."""
        for key in keys:
            self.updates.change(key, None)
            self.statuses.pop(key, None)
        await self.settle()

    async def invalid(self, finding: Finding) -> None:
        """Receive an object that cannot be decoded."""
        self.updates.change(finding.resource, finding)
        await self.settle()

    async def connect(self, description: dict[str, Any] | None = None) -> WorldProxy:
        """Connect a proxy. `description`: see `analysis.offline.describe`."""
        proxy: Proxy = offline.describe(description or {})
        connection = Connection(Stream(self._cache), proxy.id)
        connection.stream.on_result = lambda url, error: self.connected.result(connection, url, error)
        proxy_ = WorldProxy(
            self.connected.join(connection, proxy, SecretAccess(whole_namespace=True, labels=proxy.labels))
        )
        self.proxies.append(proxy_)
        self.status.proxies_changed()
        await self.settle()
        return proxy_

    async def disconnect(self, proxy: WorldProxy) -> None:
        """Disconnect a proxy."""
        self.proxies.remove(proxy)
        self.connected.leave(proxy.client.connection)
        self.status.proxies_changed()
        await self.settle()

    async def settle(self, seconds: float = _SETTLED_S) -> None:
        """Deliver all responses and advance the clock."""
        await self.clock.settle()
        while self._exchange():
            await self.clock.settle()
        await self.clock.advance(seconds)
        while self._exchange():
            await self.clock.advance(seconds)

    def _exchange(self) -> bool:
        """Every proxy receives its responses. Returns whether there were any."""
        exchanged = [proxy.exchange(self.clock.time()) for proxy in self.proxies]
        return any(exchanged)

    def condition(self, key: Key, kind: str) -> dict[str, Any]:
        """One condition of an object's status. Raises KeyError if it was not written."""
        by_type: dict[str, dict[str, Any]] = {c["type"]: c for c in self.statuses[key]["conditions"]}
        return by_type[kind]

    # -- StatusApi ----------------------------------------------------------------------------------

    async def read(self, kind: Kind, key: Key) -> dict[str, Any]:
        """The status written before."""
        return self.statuses.get(key, {})

    async def write(self, kind: Kind, key: Key, status: dict[str, Any]) -> None:
        """Store a status."""
        self.fail(key)
        self.writes += 1
        self.statuses[key] = status

    def _now(self) -> dt.datetime:
        return _START + dt.timedelta(seconds=self.clock.time())
