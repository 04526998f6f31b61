"""A whole control plane in memory: manifests go in, proxies connect, statuses come out, and time passes when the test says so.

    async with World() as world:
        proxy = await world.connect({"labels": {"app": "client"}})
        await world.apply(SERVICE, RULE)
        assert "outbound|80||reviews.default.svc.cluster.local" in proxy.resources(CLUSTER)
        assert world.condition(Key("VirtualService", "default", "reviews"), "Programmed")["message"] == "1/1 proxies"

The code is the control plane's own; only the API server and Envoy are stood in for, by a dictionary of statuses and by clients that
accept everything unless told to refuse.
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

_SETTLED_S = 0.5  # longer than statuses wait for more changes
_START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class WorldProxy:
    """A client of discovery that subscribes to all there is. `refuse` decides which responses it refuses, and with which words;
    while `answers` is False it says nothing to any."""

    def __init__(self, client: ConnectedProxy) -> None:
        self.client = client
        self.stream = client.connection.stream
        self.answers = True
        self.refuse: Callable[[str, frozenset[str]], str] = lambda type_url, names: ""
        self._bodies: dict[str, dict[str, bytes]] = {}
        self.stream.on_delta(CLUSTER)
        self.stream.on_delta(LISTENER)
        for url in (ENDPOINTS, ROUTES):
            self.stream.on_delta(url, subscribe=["*"])

    def resources(self, type_url: str) -> dict[str, bytes]:
        """Serialised resources by name, as the proxy has accepted them."""
        return self._bodies.setdefault(type_url, {})

    def exchange(self, now: float) -> bool:
        """Take what the control plane sends and answer it. Returns whether there was anything."""
        if not self.answers:
            return False
        messages = self.stream.pump(now)
        for message in messages:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
            error = self.refuse(response.type_url, frozenset(r.name for r in response.resources))
            if not error:
                known = self.resources(response.type_url)
                known |= {r.name: r.resource.value for r in response.resources}
                for name in response.removed_resources:
                    known.pop(name, None)
            self.stream.on_delta(response.type_url, nonce=response.nonce, error=error)
        return bool(messages)


class World:
    """Use as `async with`. `statuses` are those that were written, `writes` how many; `fail` is asked before each write and may
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
        self.connected.on_result = lambda *_: self.status.answered()
        self.connected.on_holders = self.status.holders_changed
        self.proxies: list[WorldProxy] = []
        self._cache = ResponseCache()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> World:
        self._task = asyncio.create_task(self.status.run())
        self.updates.synced()
        self.status.assembled()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def apply(self, *texts: str) -> None:
        """Take in the objects of some manifests. What does not fit its kind is taken in as the control plane would: as a finding."""
        objects, findings = manifests.load(texts)
        for key, obj in objects:
            self.updates.change(key, obj)
        for finding in findings:
            self.updates.change(finding.resource, finding)
        await self.settle()

    async def delete(self, *keys: Key) -> None:
        """Objects go."""
        for key in keys:
            self.updates.change(key, None)
            self.statuses.pop(key, None)
        await self.settle()

    async def invalid(self, finding: Finding) -> None:
        """An object came that could not be read."""
        self.updates.change(finding.resource, finding)
        await self.settle()

    async def connect(self, description: dict[str, Any] | None = None) -> WorldProxy:
        """A proxy connects, as `offline.describe` describes it."""
        proxy: Proxy = offline.describe(description or {})
        connection = Connection(Stream(self._cache), proxy.id)
        connection.stream.on_result = lambda url, error: self.connected.result(connection, url, error)
        made = WorldProxy(
            self.connected.join(connection, proxy, SecretAccess(whole_namespace=True, labels=proxy.labels))
        )
        self.proxies.append(made)
        self.status.proxies_changed()
        await self.settle()
        return made

    async def disconnect(self, proxy: WorldProxy) -> None:
        """A proxy leaves."""
        self.proxies.remove(proxy)
        self.connected.leave(proxy.client.connection)
        self.status.proxies_changed()
        await self.settle()

    async def settle(self, seconds: float = _SETTLED_S) -> None:
        """Deliver everything, and let so much time pass."""
        await self.clock.settle()
        while self._exchange():
            await self.clock.settle()
        await self.clock.advance(seconds)
        while self._exchange():
            await self.clock.advance(seconds)

    def _exchange(self) -> bool:
        """Every proxy takes what there is for it. Returns whether there was anything."""
        exchanged = [proxy.exchange(self.clock.time()) for proxy in self.proxies]
        return any(exchanged)

    def condition(self, key: Key, kind: str) -> dict[str, Any]:
        """One condition of an object's status. Raises KeyError if nothing was written, or not this condition."""
        found: dict[str, dict[str, Any]] = {c["type"]: c for c in self.statuses[key]["conditions"]}
        return found[kind]

    # -- what the status writer needs of an API server ----------------------------------------------

    async def read(self, kind: Kind, key: Key) -> list[dict[str, Any]]:
        """The conditions that were written before."""
        return list(self.statuses.get(key, {}).get("conditions", ()))

    async def write(self, kind: Kind, key: Key, status: dict[str, Any]) -> None:
        """Keep a status."""
        self.fail(key)
        self.writes += 1
        self.statuses[key] = status

    def _now(self) -> dt.datetime:
        return _START + dt.timedelta(seconds=self.clock.time())
