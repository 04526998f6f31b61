"""The state of one discovery stream, without I/O: requests in, responses out, in an order that never interrupts traffic.

Updates are make-before-break for each proxy:

1. new and changed clusters first; removals wait;
2. endpoints and secrets at once; endpoints of changed clusters are sent again, because Envoy warms a changed cluster until
   it receives its endpoints;
3. listeners and routes after the clusters are acknowledged (Envoy acknowledges them when all are warm), or after a deadline;
4. the name table after the listeners are acknowledged, so that no application connects to an address without a listener;
5. cluster removals after listeners and routes are acknowledged and none refers to the clusters, and after a delay for
   requests in flight.

At most one response per type is in flight; changes in the meantime are coalesced into the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from . import wire
from .cache import Key, ResponseCache
from .collection import LiveCollection
from .types import CLUSTER, ENDPOINTS, LISTENER, NAMES, ROUTES, SECRET, Resource

ORDER = (CLUSTER, ENDPOINTS, SECRET, LISTENER, ROUTES, NAMES)
WILDCARD_TYPES = (CLUSTER, LISTENER)
WARM_DEADLINE_S = 5.0
REMOVAL_LINGER_S = 2.0

_interned: dict[frozenset[str], frozenset[str]] = {}


def intern(names: frozenset[str]) -> frozenset[str]:
    """One object for equal sets: a thousand proxies subscribe to the same thousand names."""
    if len(_interned) > 4096:
        _interned.clear()
    return _interned.setdefault(names, names)


@dataclass(slots=True)
class _Type:
    """State of one resource type on one stream."""

    subscribed: frozenset[str] | None = None  # None: not subscribed yet; with `wildcard` all names
    wildcard: bool = False
    sent: dict[int, int] = field(default_factory=dict)  # number of a collection -> its seq when last sent
    requested: set[str] = field(default_factory=set)  # names subscribed to and not yet answered
    resend: set[str] = field(default_factory=set)  # names to send once more
    removed: set[str] = field(default_factory=set)  # names to remove from the client
    nonce: str = ""  # of the response in flight
    pending: frozenset[str] = frozenset()  # names in it
    error: str = ""  # of the last rejected response (NACK)
    acked: int = 0  # how many responses were acknowledged
    initial_versions: dict[str, str] | None = None  # versions that a reconnecting client has, until the first response
    resumed: bool = False  # whether the client has resources from an earlier stream


def _nonce(key: Any) -> str:
    return f"s{hash(key) & 0xFFFFFFFFFFFF:x}"


class Stream:
    """One client's stream. All streams of a server share `cache`."""

    def __init__(self, cache: ResponseCache, *, delta: bool = True) -> None:
        self._cache = cache
        self.delta = delta
        self._types: dict[str, _Type] = {}
        self.collections: dict[str, tuple[LiveCollection, ...]] = {}
        self._routes_held_until = 0.0  # routes wait for clusters at most until this time
        self._ack_deadline = 0.0  # the last sent clusters wait for their ACK at most until this time
        self._awaited_clusters: tuple[int, ...] = ()  # sequence numbers of the clusters that routes wait for
        self._preloaded: frozenset[str] = frozenset()  # clusters sent before the client subscribes to them
        self._on_subscribe: Callable[[frozenset[str]], None] | None = None
        self._unreferenced_since: dict[str, float] = {}  # clusters without references, and since when
        self._count = 0
        self.on_result: Callable[[str, str], None] | None = None  # called with (type URL, error) for each ACK or NACK
        self.deadline: float | None = None  # when `pump` must be called again

    # -- collections ----------------------------------------------------------------------------

    def assign(self, collections: dict[str, tuple[LiveCollection, ...]]) -> None:
        """Set or replace the client's collections, by type URL."""
        old, self.collections = self.collections, collections
        for url, parts in collections.items():
            state = self._types.get(url)
            if state is None or url not in old:
                continue
            kept = {c.number for c in parts} & {c.number for c in old[url]}
            present = {n for c in parts for n in c.resources}
            for c in old[url]:
                if c.number not in kept:
                    state.sent.pop(c.number, None)
                    holding = self._subscribed_names(state, c)
                    holding = frozenset(c.resources) if holding is None else holding & c.resources.keys()
                    state.removed |= holding - present
                    if url == CLUSTER and any(self._by_name(new) for new in parts) and not self._by_name(c):
                        # Subscribe to the clusters that the client has, so that it keeps getting their updates.
                        state.subscribed = intern((state.subscribed or frozenset()) | (holding & present))

    def preload(self, clusters: frozenset[str], on_subscribe: Callable[[frozenset[str]], None] | None = None) -> None:
        """Send these clusters before the client subscribes to them. Call before the first request. `on_subscribe` is called
        with the cluster names that the client subscribes to."""
        self._preloaded, self._on_subscribe = clusters, on_subscribe

    def _by_name(self, collection: LiveCollection) -> bool:
        return collection.on_demand and self.delta

    def _subscribed_names(self, state: _Type, collection: LiveCollection) -> frozenset[str] | None:
        """The names that the client is subscribed to; None for all."""
        if state.wildcard and not self._by_name(collection):
            return None
        return state.subscribed or frozenset()

    def resources_of(self, url: str) -> list[Resource]:
        """The resources of a type that the client is subscribed to."""
        state = self._types.get(url)
        if state is None:
            return []
        limits = [(c, self._subscribed_names(state, c)) for c in self.collections.get(url, ())]
        return [r for c, limit in limits for n, r in c.resources.items() if limit is None or n in limit]

    def subscribes(self, url: str) -> bool:
        return url in self._types

    @property
    def in_sync(self) -> bool:
        """Whether the client has acknowledged all its resources."""
        for url, state in self._types.items():  # noqa: SIM110  asked of every stream whenever statuses are written
            if not self._synced(url, state):
                return False
        return True

    def _synced(self, url: str, state: _Type) -> bool:
        if state.nonce or state.requested:
            return False
        for collection in self.collections.get(url, ()):  # noqa: SIM110  as above
            if state.sent.get(collection.number) != collection.seq:
                return False
        return True

    @property
    def errors(self) -> dict[str, str]:
        """Errors of rejected responses by type URL."""
        return {url: state.error for url, state in self._types.items() if state.error}

    @property
    def last_error(self) -> str:
        """One of them; empty if there is none."""
        error = ""
        for state in self._types.values():
            error = state.error or error
        return error

    def state(self, url: str) -> tuple[bool, bool, int]:
        """(subscribed, all acknowledged, responses acknowledged) of a type, for status commands. Resources from an earlier
        stream count as an acknowledged response: the client may need no new one."""
        state = self._types.get(url)
        if state is None:
            return False, False, 0
        return True, self._synced(url, state) and not state.error, state.acked + state.resumed

    # -- requests -------------------------------------------------------------------------------

    def on_delta(
        self,
        url: str,
        *,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        nonce: str = "",
        error: str = "",
        initial: dict[str, str] | None = None,
    ) -> None:
        """A DeltaDiscoveryRequest."""
        if url == CLUSTER and subscribe and self._on_subscribe is not None:
            self._on_subscribe(frozenset(subscribe) - {"*"})
        state = self._types.get(url)
        if state is None:
            state = self._types[url] = _Type(
                wildcard=url in WILDCARD_TYPES, initial_versions=initial or None, resumed=bool(initial)
            )
            names = frozenset(subscribe)
            state.subscribed = intern((names - {"*"}) | (self._preloaded if url == CLUSTER else frozenset()))
            state.wildcard = (state.wildcard and (not names or "*" in names)) or "*" in names
            state.requested = set(names - {"*"})
            if initial and not state.wildcard:
                state.subscribed = intern(state.subscribed | frozenset(initial))
            clusters = self._types.get(CLUSTER)
            if url == ENDPOINTS and clusters is not None and clusters.nonce:
                self._resend_endpoints(
                    clusters
                )  # clusters sent before this subscription warm until their endpoints arrive
        else:
            if nonce:
                self._acknowledge(url, state, nonce, error)
            new, dropped = frozenset(subscribe), frozenset(unsubscribe)
            if new or dropped:
                state.subscribed = intern(((state.subscribed or frozenset()) | new) - dropped - {"*"})
                state.requested |= new - {"*"}
                state.requested -= dropped

    def on_sotw(self, url: str, names: Iterable[str], nonce: str = "", error: str = "") -> None:
        """A DiscoveryRequest (state of the world)."""
        requested = frozenset(names)
        state = self._types.get(url)
        if state is None:
            state = self._types[url] = _Type(wildcard=url in WILDCARD_TYPES and not requested)
            state.subscribed, state.requested = intern(requested), set(requested)
            return
        if nonce and nonce != state.nonce and not error:
            return  # acknowledges an older response
        if nonce:
            self._acknowledge(url, state, nonce, error)
        if requested != state.subscribed and not state.wildcard:
            state.requested |= requested - (state.subscribed or frozenset())
            state.subscribed = intern(requested)

    def _acknowledge(self, url: str, state: _Type, nonce: str, error: str) -> None:
        if nonce != state.nonce:
            return
        state.nonce = ""
        if error:
            state.error = error
        else:
            state.error = ""
            state.acked += 1
        state.pending = frozenset()
        if self.on_result is not None:
            self.on_result(url, error)

    def _idle(self, url: str) -> bool:
        state = self._types.get(url)
        return state is None or not state.nonce

    # -- responses ------------------------------------------------------------------------------

    def pump(self, now: float) -> list[bytes]:
        """The responses to send now, in order. Sets `deadline` if more become due by time alone. `now`: seconds, monotonic."""
        out: list[bytes] = []
        self.deadline = None
        clusters = self._types.get(CLUSTER)
        if clusters is not None and (not clusters.nonce or self._overdue(clusters, now)):
            message = self._respond(CLUSTER, clusters, removals=False)
            if message is not None:
                self._resend_endpoints(clusters)
                self._hold_routes(now)
                self._ack_deadline = now + WARM_DEADLINE_S
                out.append(message)
        elif clusters is not None and self._cluster_seqs != self._awaited_clusters:
            self._hold_routes(now)  # new clusters wait for the ACK of the previous ones; their routes wait, too
        out += self._respond_idle((ENDPOINTS, SECRET))
        if clusters is not None and clusters.nonce and now < self._routes_held_until and self._started:
            self.deadline = self._routes_held_until
            return out
        if clusters is not None and clusters.nonce and now < self._ack_deadline:
            self.deadline = self._ack_deadline
        out += self._respond_idle([LISTENER, ROUTES, *(u for u in self._types if u not in ORDER)])
        if self._idle(LISTENER):  # names go out after the listeners at their addresses
            out += self._respond_idle([NAMES])
        if not out:
            out += self._remove_clusters(now)
        return out

    def _respond_idle(self, urls: Iterable[str]) -> list[bytes]:
        """Responses of the types that have none in flight."""
        states = [(u, s) for u in urls if (s := self._types.get(u)) is not None and not s.nonce]
        return [message for u, s in states if (message := self._respond(u, s)) is not None]

    @property
    def _cluster_seqs(self) -> tuple[int, ...]:
        """The current sequence numbers of the client's clusters."""
        return tuple(c.seq for c in self.collections.get(CLUSTER, ()))

    def _hold_routes(self, now: float) -> None:
        """Hold routes back until the clusters are acknowledged or the deadline has passed."""
        self._routes_held_until, self._awaited_clusters = now + WARM_DEADLINE_S, self._cluster_seqs

    def _overdue(self, clusters: _Type, now: float) -> bool:
        """Whether the ACK of the last clusters is overdue and newer clusters wait. Envoy sends no ACK while a cluster warms,
        but accepts further changes."""
        sent = tuple(clusters.sent.get(c.number, 0) for c in self.collections.get(CLUSTER, ()))
        return now >= self._ack_deadline and sent != self._cluster_seqs

    @property
    def _started(self) -> bool:
        """Whether the client has listeners, perhaps from an earlier stream. Before its first listeners, Envoy itself waits for
        its clusters."""
        listeners = self._types.get(LISTENER)
        return listeners is not None and (listeners.acked > 0 or listeners.resumed)

    def _resend_endpoints(self, clusters: _Type) -> None:
        """Send the endpoints of the clusters just sent again. A changed cluster warms until it receives them, and Envoy does
        not request them twice. Envoy acknowledges clusters only when all are warm; then routes may follow."""
        endpoints = self._types.get(ENDPOINTS)
        if endpoints is None or not endpoints.subscribed:
            return
        for c in self.collections.get(CLUSTER, ()):
            for name in clusters.pending:
                cluster = c.resources.get(name)
                if cluster is not None and cluster.endpoints in endpoints.subscribed:
                    endpoints.resend.add(cluster.endpoints)

    def _remove_clusters(self, now: float) -> list[bytes]:
        state = self._types.get(CLUSTER)
        if state is None or not state.removed or (state.nonce and now < self._ack_deadline):
            self._unreferenced_since.clear()
            return []
        if not self._idle(LISTENER) or not self._idle(ROUTES):
            return []
        state.removed -= {n for c in self.collections.get(CLUSTER, ()) for n in c.resources}
        referred: set[str] = set()
        for url in (LISTENER, ROUTES):
            for c in self.collections.get(url, ()):
                referred.update(*(r.clusters & state.removed for r in c.resources.values()))
        self._unreferenced_since = {n: self._unreferenced_since.get(n, now) for n in state.removed - referred}
        due = {n for n, since in self._unreferenced_since.items() if now >= since + REMOVAL_LINGER_S}
        if not due:
            if self._unreferenced_since:
                self.deadline = min(self._unreferenced_since.values()) + REMOVAL_LINGER_S
            return []
        self._hold_routes(now)
        self._ack_deadline = now + WARM_DEADLINE_S
        message = self._respond(CLUSTER, state, keep=state.removed - due)
        return [message] if message is not None else []

    def _key(self, url: str, state: _Type) -> Key | None:
        """The cache key of the next response; None if only this stream can get it."""
        if state.initial_versions is not None or state.resend or state.removed or not self.delta:
            return None
        parts = self.collections.get(url, ())
        sent, version = tuple(state.sent.get(c.number, 0) for c in parts), tuple(c.seq for c in parts)
        if not state.requested and sent == version:
            return None  # nothing new: the response, if any, depends on this stream's history
        whole = state.wildcard and not any(self._by_name(c) for c in parts)
        subscription = sent, whole or state.subscribed, frozenset(state.requested)
        return Key((url, *(c.number for c in parts)), version, subscription)

    def _changes(self, url: str, state: _Type) -> tuple[list[Resource], set[str], bool]:
        """(resources to send, names to remove, whether a response is needed)."""
        parts = self.collections.get(url, ())
        send: dict[str, Resource] = {}
        removed: set[str] = set()
        for c in parts:
            seq = state.sent.get(c.number, 0)
            if seq == c.seq and not (state.requested or state.resend):
                continue
            names = c.since(seq)
            candidates: Iterable[str] = c.resources if names is None else names
            limit = self._subscribed_names(state, c)
            if limit is not None:
                changed = c.resources if names is None else names
                small, large = (changed, limit) if len(changed) < len(limit) else (limit, changed)
                candidates = [n for n in small if n in large]
            for name in candidates:
                resource = c.resources.get(name)
                if resource is None:
                    removed.add(name)
                else:
                    send[name] = resource
            for name in (*state.requested, *state.resend):
                resource = c.resources.get(name)
                if resource is not None:
                    send[name] = resource
        if state.initial_versions is not None:
            client_versions = state.initial_versions
            send = {n: r for n, r in send.items() if client_versions.get(n) != r.version or n in state.resend}
            present = {n for c in parts for n in c.resources}
            removed |= {n for n in client_versions if n not in present}
        # Remove only wildcard types: Envoy drops endpoints and routes together with their clusters and listeners.
        removed = removed - send.keys() if state.wildcard else set()
        first = state.acked == 0 and not state.error and not state.sent and state.initial_versions is None
        return list(send.values()), removed, bool(send or removed or (first and state.wildcard))

    def _respond(
        self, url: str, state: _Type, removals: bool = True, keep: AbstractSet[str] = frozenset()
    ) -> bytes | None:
        key = self._key(url, state)
        if key is not None and (cached := self._cache.get(key)) is not None:
            self._mark_sent(url, state)
            state.nonce, (body, state.pending) = _nonce(key), cached
            return body
        send, removed, anything = self._changes(url, state)
        if url == CLUSTER and not removals:
            anything = bool(send) or (anything and not removed and not state.sent)
            state.removed |= removed
            key = None if removed else key
            removed = set()
        else:
            removed |= state.removed - keep
            state.removed &= keep
            anything = anything or bool(removed)
        removed_names = sorted(removed | self._nonexistent(url, state))
        self._mark_sent(url, state)
        if not anything and not removed_names:
            return None
        self._count += 1
        if removed_names:
            key = None  # removals are specific to this stream
        # The nonce of a shared response derives from its key, so that its bytes are equal for all streams.
        nonce = state.nonce = f"{self._count:x}" if key is None else _nonce(key)
        state.pending = frozenset(r.name for r in send)
        if not self.delta:
            return self._sotw(url, state, nonce)
        body = wire.delta_response(url, nonce, sorted(send, key=lambda r: r.name), removed_names)
        if key is not None:
            self._cache.put(key, body, state.pending)
        return body

    def _mark_sent(self, url: str, state: _Type) -> None:
        for c in self.collections.get(url, ()):
            state.sent[c.number] = c.seq
        state.requested, state.resend, state.initial_versions = set(), set(), None

    def _nonexistent(self, url: str, state: _Type) -> set[str]:
        """Names that the client waits for and that do not exist. They are sent as removed, or the client would wait for
        ever."""
        return (state.requested | state.resend).difference(*(c.resources for c in self.collections.get(url, ())))

    def _sotw(self, url: str, state: _Type, nonce: str) -> bytes:
        resources = [
            r
            for c in self.collections.get(url, ())
            for n, r in c.resources.items()
            if state.wildcard or n in (state.subscribed or frozenset())
        ]
        resources.sort(key=lambda r: r.name)
        return wire.response(url, nonce, nonce, resources)
