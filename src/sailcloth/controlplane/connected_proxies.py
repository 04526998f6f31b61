"""Who gets what: connected proxies, the collections they share, and the push when the mesh changes.

A change is applied to the graph; the graph says which resources it touched; each touched collection takes them in; every
proxy that holds a changed collection is woken. Nothing here is proportional to the size of the mesh.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sailcloth.api.meta import Key
from sailcloth.envoy import build
from sailcloth.envoy.build import ResourceSet
from sailcloth.lib.incremental import Graph
from sailcloth.mesh.registry import Mesh
from sailcloth.view import gateways
from sailcloth.view.proxy import Proxy, parse_node
from sailcloth.xds.collection import LiveCollection
from sailcloth.xds.server import Connection
from sailcloth.xds.types import CLUSTER, SECRET

from . import secret_access
from .identity import Caller
from .secret_access import NO_SECRETS, SecretAccess

log = logging.getLogger(__name__)

HEALTH = "type.googleapis.com/istio.v1.HealthInformation"
_COLLECT_EVERY_S = 5.0
_REMEMBERED = 2_000  # workloads, those that came last, whose use of clusters is known

Authenticate = Callable[[dict[str, str]], Awaitable[Caller | None]]
"""From a call's metadata, who is calling; None where the transport needs no proof. Raises PermissionError."""


async def anybody(_: dict[str, str]) -> Caller | None:
    """Asks for no proof, for a control plane that serves nothing."""
    return None


async def no_access(_: Caller) -> SecretAccess:
    """Gives nobody secrets."""
    return NO_SECRETS


Touched = list[tuple[Callable[..., Any], tuple[Any, ...]]]
Workload = tuple[str, tuple[tuple[str, str], ...]]
_OF_ONE_POD = (
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
)


def _workload(proxy: Proxy) -> Workload:
    """What a proxy has in common with those that did, or will do, the same work: namespace and labels."""
    return proxy.namespace, tuple(pair for pair in proxy.labels if pair[0] not in _OF_ONE_POD)


class Registrar(Protocol):
    """Follows the streams of workloads that register themselves."""

    async def joined(self, proxy: Proxy, metadata: dict[str, str]) -> None:
        """A stream has begun. Raises PermissionError if it may not."""

    def left(self, proxy: Proxy) -> None:
        """It has ended."""

    def health(self, proxy: Proxy, error: str) -> None:
        """The workload is healthy, or why it is not."""


@dataclass(eq=False)
class ConnectedProxy:
    """A connected proxy."""

    connection: Connection
    proxy: Proxy
    key: Any
    secrets: SecretAccess = NO_SECRETS
    collections: dict[str, tuple[LiveCollection, ...]] = field(default_factory=dict)
    uses: set[ResourceSet] = field(default_factory=set)  # the descriptions of those collections
    connected_at: float = field(default_factory=time.time)


class ConnectedProxies:
    """Implements the server's `StreamCallbacks`, over one mesh."""

    def __init__(
        self,
        mesh: Mesh,
        authenticate: Authenticate = anybody,
        access: Callable[[Caller], Awaitable[SecretAccess]] = no_access,
    ) -> None:
        self.mesh = mesh
        self._authenticate, self._secret_access = authenticate, access
        self._live: dict[ResourceSet, LiveCollection] = {}
        self._users: dict[ResourceSet, set[ConnectedProxy]] = {}
        self._by_node: dict[Any, set[ResourceSet]] = {}  # which collections are made from a value of the graph
        self.clients: dict[Connection, ConnectedProxy] = {}
        self._proxies: dict[Proxy, set[ConnectedProxy]] = {}
        self._asked: dict[Workload, set[str]] = {}  # clusters that proxies of a workload have asked for by name
        self.pushes = 0
        self.on_result: Callable[[ConnectedProxy, str, str], None] | None = None
        self.on_holders: Callable[[set[Any]], None] | None = None  # user objects whose resources came or went
        self.registrar: Registrar | None = None
        self._last_collect = 0.0
        self._garbage = False

    @property
    def graph(self) -> Graph:
        return self.mesh.graph

    # -- the server's side ----------------------------------------------------------------------

    async def admit(self, connection: Connection, node: Any, metadata: dict[str, str]) -> None:
        """Verify who calls, and give it what its node describes."""
        from google.protobuf import json_format

        caller = await self._authenticate(metadata)
        described = parse_node(node.id, json_format.MessageToDict(node.metadata))
        if caller is not None and caller.namespace != described.namespace:
            raise PermissionError(
                f"the token is of namespace {caller.namespace}, but the proxy says it is in {described.namespace}"
            )
        if self.registrar is not None:
            await self.registrar.joined(described, metadata)
        access = await self._secret_access(caller) if caller is not None else NO_SECRETS
        self.join(connection, described, access)

    def join(self, connection: Connection, proxy: Proxy, access: SecretAccess = NO_SECRETS) -> ConnectedProxy:
        """Add a client; its streams get their collections at once."""
        client = ConnectedProxy(connection, proxy, None, access)
        self.clients[connection] = client
        peers = self._proxies.setdefault(proxy, set())
        if not peers:
            self.graph.watch(build.key, proxy)
        peers.add(client)
        self._gateways_changed(proxy)
        self._assign(client)
        if any(c.on_demand for c in client.collections.get(CLUSTER, ())):
            self._preload(client)
        return client

    def _preload(self, client: ConnectedProxy) -> None:
        """The proxy is sent what others of its workload asked for, and what it asks for the next one is sent."""
        workload = _workload(client.proxy)
        asked = self._asked[workload] = self._asked.pop(workload, set())
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]
        parts = client.collections[CLUSTER]
        known = frozenset(n for n in asked if any(n in c.resources for c in parts if c.on_demand))
        client.connection.stream.preload(known, asked.update)

    def leave(self, connection: Connection) -> None:
        client = self.clients.pop(connection, None)
        if client is None:
            return
        if self.registrar is not None:
            self.registrar.left(client.proxy)
        self._release(client, frozenset())
        peers = self._proxies[client.proxy]
        peers.discard(client)
        if not peers:
            del self._proxies[client.proxy]
            self.graph.unpin(build.key, client.proxy)
            self._garbage = True
            self._gateways_changed(client.proxy)

    def _gateways_changed(self, proxy: Proxy) -> None:
        if proxy.kind == "router":
            gateways.connected(self.graph, (p for p in self._proxies if p.kind == "router"))

    def on_notification(self, connection: Connection, type_url: str, error: str) -> bool:
        """Health that a workload's agent reports on its stream; other types are discovery's."""
        if type_url != HEALTH:
            return False
        client = self.clients.get(connection)
        if client is not None and self.registrar is not None:
            self.registrar.health(client.proxy, error)
        return True

    def result(self, connection: Connection, type_url: str, error: str) -> None:
        client = self.clients.get(connection)
        if client is None:
            return
        if error:
            log.warning("%s refused %s: %s", client.proxy.id, type_url.rsplit(".", 1)[-1], error)
        if self.on_result is not None:
            self.on_result(client, type_url, error)

    # -- changes --------------------------------------------------------------------------------

    def flush(self, touched: Touched | None = None) -> int:
        """Push what has changed in the graph: `touched` is what `Graph.touched` has said, by default asked here. Returns the
        number of proxies woken."""
        idents: dict[ResourceSet, list[Any]] = {}
        lists: set[ResourceSet] = set()
        moved: list[Proxy] = []
        for fn, args in self.graph.touched() if touched is None else touched:
            if fn is build.key:
                moved.append(args[0])
            lists |= self._by_node.get((fn, args), set())
            for key in self._by_node.get((fn, args[:-1]), ()):
                idents.setdefault(key, []).append(args[-1])
        woken: set[ConnectedProxy] = set()
        for proxy in moved:
            for client in list(self._proxies.get(proxy, ())):
                if self.graph.get(build.key, proxy) != client.key:
                    self._assign(client)
                    woken.add(client)
        for key in {**dict.fromkeys(lists), **dict.fromkeys(idents)}:
            live = self._live.get(key)
            if live is None:
                continue
            changed = live.refresh_ids() if key in lists else frozenset()
            if key in idents:
                changed |= live.refresh(idents[key])
            if changed:
                woken |= self._users[key]
            self._report_moved(live)
        for client in woken:
            client.connection.wake.set()
        if woken:
            self.pushes += 1
        now = time.monotonic()
        if self._garbage and now - self._last_collect > _COLLECT_EVERY_S:
            self._last_collect, self._garbage = now, False
            self.graph.collect()
        return len(woken)

    def _report_moved(self, live: LiveCollection) -> None:
        moved = live.pop_changed_sources()
        if moved and self.on_holders is not None:
            self.on_holders(moved)

    def _assign(self, client: ConnectedProxy) -> None:
        proxy = client.proxy
        client.key = self.graph.get(build.key, proxy)
        wanted = build.collections(self.graph, proxy)
        wanted[SECRET] = secret_access.sets(proxy, client.secrets)
        new = {url: tuple(self._acquire(c, client) for c in parts) for url, parts in wanted.items()}
        client.connection.stream.assign(new)
        self._release(client, frozenset(c for parts in wanted.values() for c in parts))
        client.collections = new

    def _acquire(self, key: ResourceSet, client: ConnectedProxy) -> LiveCollection:
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = LiveCollection(self.graph, key.ids, key.resource, key.args, key.on_demand)
            self._users[key] = set()
            self._report_moved(live)
            for node in ((key.ids, key.args), (key.resource, key.args)):
                self._by_node.setdefault(node, set()).add(key)
        self._users[key].add(client)
        client.uses.add(key)
        return live

    def _release(self, client: ConnectedProxy, kept: frozenset[ResourceSet]) -> None:
        for key in client.uses - kept:
            client.uses.discard(key)
            users = self._users[key]
            users.discard(client)
            if not users:
                self._live.pop(key).close()
                del self._users[key]
                for node in ((key.ids, key.args), (key.resource, key.args)):
                    self._by_node[node].discard(key)
                    if not self._by_node[node]:
                        del self._by_node[node]
                self._garbage = True

    def holders(self, source: Key) -> set[ConnectedProxy]:
        """Clients whose configuration holds something that came from a user object, or is limited by it."""
        if source.kind == "Sidecar":
            return {c for c in self.clients.values() if c.key and c.key[0].sidecar == source}
        out: set[ConnectedProxy] = set()
        for key, live in self._live.items():
            if source in live.sources:
                out |= self._users[key]
        return out

    def applied_counts(self, key: Key) -> Counter[int]:
        """How often each numbered part of a user object took effect, over all resources that some proxy holds."""
        found: Counter[int] = Counter()
        for live in self._live.values():
            if key in live.sources:
                found.update(i for made in live.resources.values() for k, i in made.applied if k == key)
        return found

    def find(self, name: str, namespace: str) -> Iterable[ConnectedProxy]:
        """Clients of one pod."""
        return [c for c in self.clients.values() if c.proxy.name == name and c.proxy.namespace == namespace]
