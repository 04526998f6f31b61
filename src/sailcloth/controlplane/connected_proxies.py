"""Connected proxies, the collections of resources that they share, and pushes after changes of the mesh.

After a change, the graph lists the touched resources, each touched collection refreshes them, and every proxy with a changed
collection is woken. Must not do work proportional to the size of the mesh.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sailcloth.api.meta import Key
from sailcloth.ca.trust import ROOTS_HEADER
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
from .change_log import Change
from .identity import Caller
from .secret_access import NO_SECRETS, SecretAccess

log = logging.getLogger(__name__)

HEALTH = "type.googleapis.com/istio.v1.HealthInformation"
_COLLECT_EVERY_S = 5.0
_FOLLOWED = 16  # changes that a proxy does not have yet
_REMEMBERED = 2_000  # most recent workloads whose subscribed clusters are remembered

Authenticate = Callable[[dict[str, str]], Awaitable[Caller | None]]
"""The caller by the metadata of its call; None if the transport needs no authentication. Raises PermissionError."""


async def allow_anonymous(_: dict[str, str]) -> Caller | None:
    """Accepts calls without authentication, for a control plane in tests."""
    return None


async def no_secret_access(_: Caller) -> SecretAccess:
    """Grants no access to Secrets."""
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
    """Identifies the proxies of one workload across pods: namespace and labels without per-pod ones."""
    return proxy.namespace, tuple(pair for pair in proxy.labels if pair[0] not in _OF_ONE_POD)


DEBUG = "istio.io/debug"  # prefix of the types of debug requests
DEBUG_NONCE = "debug"  # of every answer to one


class Registrar(Protocol):
    """Observes the streams of workloads with auto-registration."""

    async def stream_opened(self, proxy: Proxy, metadata: dict[str, str]) -> None:
        """A stream has opened. Raises PermissionError if the proxy may not register."""

    def stream_closed(self, proxy: Proxy) -> None:
        """The stream has closed."""

    def health(self, proxy: Proxy, error: str) -> None:
        """The workload is healthy (empty error), or why it is not."""


@dataclass(eq=False)
class ConnectedProxy:
    """A connected proxy."""

    connection: Connection
    proxy: Proxy
    key: Any
    secrets: SecretAccess = NO_SECRETS
    collections: dict[str, tuple[LiveCollection, ...]] = field(default_factory=dict)
    uses: set[ResourceSet] = field(default_factory=set)  # the keys of those collections
    connected_at: float = field(default_factory=time.time)
    changes: list[Change] = field(default_factory=list)  # that it does not have yet, oldest first
    answered: dict[str, float] = field(default_factory=dict)  # Unix time of the last answer, by type URL
    trusted_roots: frozenset[str] = frozenset()  # fingerprints, as its agent tells them


def _must_have(client: ConnectedProxy, change: Change) -> None:
    """Follow a change until the client has everything. Of a client that has fallen behind, the first change and the last ones are."""
    if client.changes and client.connection.stream.in_sync:
        client.changes = []  # it needed nothing of them
    if len(client.changes) >= _FOLLOWED:
        del client.changes[1]
    client.changes.append(change)


class ConnectedProxies:
    """Implements `xds.server.StreamCallbacks` for one mesh."""

    def __init__(
        self,
        mesh: Mesh,
        authenticate: Authenticate = allow_anonymous,
        access: Callable[[Caller], Awaitable[SecretAccess]] = no_secret_access,
    ) -> None:
        self.mesh = mesh
        self._authenticate, self._secret_access = authenticate, access
        self._live: dict[ResourceSet, LiveCollection] = {}
        self._users: dict[ResourceSet, set[ConnectedProxy]] = {}
        self._by_node: dict[Any, set[ResourceSet]] = {}  # collections that depend on a derived value
        self.clients: dict[Connection, ConnectedProxy] = {}
        self._proxies: dict[Proxy, set[ConnectedProxy]] = {}
        self._subscribed_clusters: dict[Workload, set[str]] = {}  # by the proxies of a workload, by name
        self.pushes = 0
        self.on_result: Callable[[ConnectedProxy, str, str], None] | None = None
        self.on_answer: Callable[[str, str, float | None], None] | None = None  # see `metrics.Metrics.answered`
        self.on_holders: Callable[[set[Any]], None] | None = (
            None  # called with user objects whose resources appeared or disappeared
        )
        self.registrar: Registrar | None = None
        self.debug: Callable[[str, str, list[str]], bytes] | None = None  # see `debug_requests.respond`
        self._last_collect = 0.0
        self._garbage = False

    @property
    def graph(self) -> Graph:
        return self.mesh.graph

    # -- StreamCallbacks ------------------------------------------------------------------------

    async def admit(self, connection: Connection, node: Any, metadata: dict[str, str]) -> None:
        """Authenticate the caller and assign the collections for the proxy that `node` describes."""
        from google.protobuf import json_format

        caller = await self._authenticate(metadata)
        described = parse_node(node.id, json_format.MessageToDict(node.metadata))
        if caller is not None and caller.namespace != described.namespace:
            raise PermissionError(
                f"the token is of namespace {caller.namespace}, but the node id names namespace {described.namespace}"
            )
        if self.registrar is not None:
            await self.registrar.stream_opened(described, metadata)
        access = await self._secret_access(caller) if caller is not None else NO_SECRETS
        client = self.join(connection, described, access)
        client.trusted_roots = frozenset(metadata.get(ROOTS_HEADER, "").split(",")) - {""}

    def join(self, connection: Connection, proxy: Proxy, access: SecretAccess = NO_SECRETS) -> ConnectedProxy:
        """Add a client and assign its collections."""
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
        """Send on-demand clusters that other proxies of the workload subscribed to, and remember those that this one adds."""
        workload = _workload(client.proxy)
        subscribed = self._subscribed_clusters[workload] = self._subscribed_clusters.pop(workload, set())
        if len(self._subscribed_clusters) > _REMEMBERED:
            del self._subscribed_clusters[next(iter(self._subscribed_clusters))]
        parts = client.collections[CLUSTER]
        clusters = frozenset(n for n in subscribed if any(n in c.resources for c in parts if c.on_demand))
        client.connection.stream.preload(clusters, subscribed.update)

    def leave(self, connection: Connection) -> None:
        client = self.clients.pop(connection, None)
        if client is None:
            return
        if self.registrar is not None:
            self.registrar.stream_closed(client.proxy)
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

    async def query(self, request: Any, metadata: dict[str, str]) -> bytes | None:
        """Answer a debug request; empty for its acknowledgement. Callers see the proxies of their token's namespace, those of the
        installation's namespace all."""
        if self.debug is None or not request.type_url.startswith(DEBUG):
            return None
        if request.response_nonce == DEBUG_NONCE:  # istioctl sends one of its own with its question
            return b""
        caller = await self._authenticate(metadata)
        allowed = "*" if caller is None or caller.namespace == self.mesh.config.root_namespace else caller.namespace
        return self.debug(allowed, request.type_url, list(request.resource_names))

    def on_notification(self, connection: Connection, type_url: str, error: str) -> bool:
        """Handle a health report of a workload's agent. Returns False for other types, which are discovery requests."""
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
        client.answered[type_url] = time.time()
        if error:
            log.warning("%s rejected %s: %s", client.proxy.id, type_url.rsplit(".", 1)[-1], error)
        converged_s = self._answered(client, type_url, error)
        if self.on_answer is not None:
            self.on_answer(type_url, error, converged_s)
        if self.on_result is not None:
            self.on_result(client, type_url, error)

    def _answered(self, client: ConnectedProxy, type_url: str, error: str) -> float | None:
        """Note an answer with the changes that it may be for. Returns the seconds since the first of them if the proxy now has all."""
        if not client.changes:
            return None
        stream, now, first = client.connection.stream, time.monotonic(), client.changes[0]
        complete = stream.in_sync and not stream.errors
        for change in client.changes:
            change.answered(client.proxy, type_url, error, now, complete)
        if stream.in_sync:
            client.changes = []
        return now - first.received if complete else None

    # -- changes --------------------------------------------------------------------------------

    def flush(self, touched: Touched | None = None, change: Change | None = None) -> int:
        """Push changes of the graph. `touched`: the result of `Graph.touched`, which is called by default; `change` is told what
        becomes of it. Returns the number of proxies woken."""
        idents: dict[ResourceSet, list[Any]] = {}
        lists: set[ResourceSet] = set()
        proxies: list[Proxy] = []
        for fn, args in self.graph.touched() if touched is None else touched:
            if fn is build.key:
                proxies.append(args[0])
            lists |= self._by_node.get((fn, args), set())
            for key in self._by_node.get((fn, args[:-1]), ()):
                idents.setdefault(key, []).append(args[-1])
        woken: set[ConnectedProxy] = set()
        for proxy in proxies:
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
            self._report_changed_sources(live)
        now = time.monotonic()
        if change is not None:
            change.computed = now
        for client in woken:
            if change is not None:
                _must_have(client, change)
            client.connection.wake()
        if woken:
            self.pushes += 1
        if self._garbage and now - self._last_collect > _COLLECT_EVERY_S:
            self._last_collect, self._garbage = now, False
            self.graph.collect()
        return len(woken)

    def _report_changed_sources(self, live: LiveCollection) -> None:
        sources = live.pop_changed_sources()
        if sources and self.on_holders is not None:
            self.on_holders(sources)

    def _assign(self, client: ConnectedProxy) -> None:
        proxy = client.proxy
        client.key = self.graph.get(build.key, proxy)
        sets = build.collections(self.graph, proxy)
        sets[SECRET] = secret_access.sets(proxy, client.secrets)
        new = {url: tuple(self._acquire(c, client) for c in parts) for url, parts in sets.items()}
        client.connection.stream.assign(new)
        self._release(client, frozenset(c for parts in sets.values() for c in parts))
        client.collections = new

    def _acquire(self, key: ResourceSet, client: ConnectedProxy) -> LiveCollection:
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = LiveCollection(self.graph, key.ids, key.resource, key.args, key.on_demand)
            self._users[key] = set()
            self._report_changed_sources(live)
            for node in ((key.ids, key.args), (key.resource, key.args)):
                self._by_node.setdefault(node, set()).add(key)
        self._users[key].add(client)
        client.uses.add(key)
        return live

    def _release(self, client: ConnectedProxy, keep: frozenset[ResourceSet]) -> None:
        for key in client.uses - keep:
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
        """Clients whose configuration has resources from a user object, or is limited by it (a Sidecar)."""
        if source.kind == "Sidecar":
            return {c for c in self.clients.values() if c.key and c.key[0].sidecar == source}
        clients: set[ConnectedProxy] = set()
        for key, live in self._live.items():
            if source in live.sources:
                clients |= self._users[key]
        return clients

    def all_holders(self) -> dict[Key, set[ConnectedProxy]]:
        """`holders` of every object that has any."""
        found: dict[Key, set[ConnectedProxy]] = {}
        for key, live in self._live.items():
            for source in live.sources:
                found.setdefault(source, set()).update(self._users[key])
        for client in self.clients.values():
            if client.key and (sidecar := client.key[0].sidecar) is not None:
                found.setdefault(sidecar, set()).add(client)
        return found

    def applied_counts(self, key: Key) -> Counter[int]:
        """How often each part (by index) of a user object took effect, over the resources of all connected proxies."""
        counts: Counter[int] = Counter()
        for live in self._live.values():
            if key in live.sources:
                counts.update(i for resource in live.resources.values() for k, i in resource.applied if k == key)
        return counts

    def find(self, name: str, namespace: str) -> Iterable[ConnectedProxy]:
        """Clients of one pod."""
        return [c for c in self.clients.values() if c.proxy.name == name and c.proxy.namespace == namespace]
