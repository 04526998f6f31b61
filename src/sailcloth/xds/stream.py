"""The state of one discovery stream, without I/O: requests in, responses out, in the order that never breaks traffic.

Make before break, for each proxy by itself:

1. clusters first, new and changed ones; removals wait;
2. endpoints and secrets at once, those of changed clusters again (Envoy warms a changed cluster until it hears of its endpoints);
3. listeners and routes only when clusters are acknowledged, which Envoy does when all are warm, or a deadline has passed;
4. names only when listeners are acknowledged, so that nobody dials an address that no listener is at;
5. cluster removals only after listeners and routes are acknowledged, none refers to them, and a while has passed, for
   requests already routed.

At most one response of a type is in flight; what changes meanwhile is coalesced into the next.
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

    subscribed: frozenset[str] | None = None  # None: nothing asked for yet; with `wildcard` everything
    wildcard: bool = False
    sent: dict[int, int] = field(default_factory=dict)  # number of a collection -> seq the client was told of
    requested: set[str] = field(default_factory=set)  # names asked for and not yet answered
    resend: set[str] = field(default_factory=set)  # names to send once more
    removed: set[str] = field(default_factory=set)  # names to take back from the client
    nonce: str = ""  # of the response in flight
    pending: frozenset[str] = frozenset()  # names in it
    error: str = ""  # the client's last refusal
    acked: int = 0  # how many responses were accepted
    known: dict[str, str] | None = None  # versions that a reconnecting client has, until the first answer
    resumed: bool = False  # whether the client came with what it had from an earlier stream


def _nonce(key: Any) -> str:
    return f"s{hash(key) & 0xFFFFFFFFFFFF:x}"


class Stream:
    """One client. `cache` is shared by all streams of a server: bytes by what they say."""

    def __init__(self, cache: ResponseCache, *, delta: bool = True) -> None:
        self._cache = cache
        self.delta = delta
        self._types: dict[str, _Type] = {}
        self.collections: dict[str, tuple[LiveCollection, ...]] = {}
        self._routes_held_until = 0.0  # routes wait for clusters until then
        self._ack_deadline = 0.0  # an answer to the clusters sent last is waited for until then
        self._settling: tuple[int, ...] = ()  # the state of the clusters that they wait for
        self._preloaded: frozenset[str] = frozenset()  # clusters that go out before the client asks for them
        self._on_asked: Callable[[frozenset[str]], None] | None = None
        self._unreferenced_since: dict[str, float] = {}  # clusters that nothing refers to any more, and since when
        self._count = 0
        self.on_result: Callable[[str, str], None] | None = None  # (type URL, error) of each answer
        self.deadline: float | None = None  # when `pump` wants to be called again, at the latest

    # -- what is wanted -------------------------------------------------------------------------

    def assign(self, collections: dict[str, tuple[LiveCollection, ...]]) -> None:
        """Set, or replace, the collections that the client is to have."""
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
                    held = self._limited(state, c)
                    held = frozenset(c.resources) if held is None else held & c.resources.keys()
                    state.removed |= held - present
                    if url == CLUSTER and any(self._by_name(new) for new in parts) and not self._by_name(c):
                        # What the client holds by now it keeps as if it had asked for it: it would go stale otherwise.
                        state.subscribed = intern((state.subscribed or frozenset()) | (held & present))

    def preload(self, clusters: frozenset[str], on_asked: Callable[[frozenset[str]], None] | None = None) -> None:
        """Clusters that the client is known to use: they are sent before it asks. Call it before the first request. What it
        asks for itself is told to `on_asked`."""
        self._preloaded, self._on_asked = clusters, on_asked

    def _by_name(self, collection: LiveCollection) -> bool:
        return collection.on_demand and self.delta

    def _limited(self, state: _Type, collection: LiveCollection) -> frozenset[str] | None:
        """The names that a client is told of; None for all."""
        if state.wildcard and not self._by_name(collection):
            return None
        return state.subscribed or frozenset()

    def held(self, url: str) -> list[Resource]:
        """The resources of a type that the client is to have."""
        state = self._types.get(url)
        if state is None:
            return []
        limits = [(c, self._limited(state, c)) for c in self.collections.get(url, ())]
        return [r for c, limit in limits for n, r in c.resources.items() if limit is None or n in limit]

    def subscribes(self, url: str) -> bool:
        return url in self._types

    @property
    def in_sync(self) -> bool:
        """Whether the client has acknowledged all that it is to have."""
        return all(self._settled(url, state) for url, state in self._types.items())

    def _settled(self, url: str, state: _Type) -> bool:
        return (
            not state.nonce
            and not state.requested
            and all(state.sent.get(c.number) == c.seq for c in self.collections.get(url, ()))
        )

    @property
    def errors(self) -> dict[str, str]:
        """The client's refusals by type URL."""
        return {url: state.error for url, state in self._types.items() if state.error}

    def state(self, url: str) -> tuple[bool, bool, int]:
        """(asked for, acknowledged all, responses accepted) of a type, for status commands. What a client has from an earlier
        stream counts as accepted: it may need no response at all."""
        state = self._types.get(url)
        if state is None:
            return False, False, 0
        return True, self._settled(url, state) and not state.error, state.acked + state.resumed

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
        if url == CLUSTER and subscribe and self._on_asked is not None:
            self._on_asked(frozenset(subscribe) - {"*"})
        state = self._types.get(url)
        if state is None:
            state = self._types[url] = _Type(
                wildcard=url in WILDCARD_TYPES, known=initial or None, resumed=bool(initial)
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
                )  # they were sent before the client asked for endpoints, and warm until it hears of them
        else:
            if nonce:
                self._answered(url, state, nonce, error)
            new, lost = frozenset(subscribe), frozenset(unsubscribe)
            if new or lost:
                state.subscribed = intern(((state.subscribed or frozenset()) | new) - lost - {"*"})
                state.requested |= new - {"*"}
                state.requested -= lost

    def on_sotw(self, url: str, names: Iterable[str], nonce: str = "", error: str = "") -> None:
        """A DiscoveryRequest (state of the world)."""
        wanted = frozenset(names)
        state = self._types.get(url)
        if state is None:
            state = self._types[url] = _Type(wildcard=url in WILDCARD_TYPES and not wanted)
            state.subscribed, state.requested = intern(wanted), set(wanted)
            return
        if nonce and nonce != state.nonce and not error:
            return  # an answer to an older response
        if nonce:
            self._answered(url, state, nonce, error)
        if wanted != state.subscribed and not state.wildcard:
            state.requested |= wanted - (state.subscribed or frozenset())
            state.subscribed = intern(wanted)

    def _answered(self, url: str, state: _Type, nonce: str, error: str) -> None:
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
        """The responses that may go out now, in order; sets `deadline` if time alone will allow more."""
        out: list[bytes] = []
        self.deadline = None
        clusters = self._types.get(CLUSTER)
        if clusters is not None and (not clusters.nonce or self._overdue(clusters, now)):
            message = self._respond(CLUSTER, clusters, removals=False)
            if message is not None:
                self._resend_endpoints(clusters)
                self._settle(now)
                self._ack_deadline = now + WARM_DEADLINE_S
                out.append(message)
        elif clusters is not None and self._clusters_at != self._settling:
            self._settle(now)  # new ones wait for an answer to those before, and the routes to them wait too
        out += self._respond_idle((ENDPOINTS, SECRET))
        if clusters is not None and clusters.nonce and now < self._routes_held_until and self._started:
            self.deadline = self._routes_held_until
            return out
        if clusters is not None and clusters.nonce and now < self._ack_deadline:
            self.deadline = self._ack_deadline
        out += self._respond_idle([LISTENER, ROUTES, *(u for u in self._types if u not in ORDER)])
        if self._idle(LISTENER):  # a name is told when there is a listener at its address
            out += self._respond_idle([NAMES])
        if not out:
            out += self._remove_clusters(now)
        return out

    def _respond_idle(self, urls: Iterable[str]) -> list[bytes]:
        """Responses of the types that wait for no answer."""
        states = [(u, s) for u in urls if (s := self._types.get(u)) is not None and not s.nonce]
        return [message for u, s in states if (message := self._respond(u, s)) is not None]

    @property
    def _clusters_at(self) -> tuple[int, ...]:
        """Which state of its clusters the client is to have."""
        return tuple(c.seq for c in self.collections.get(CLUSTER, ()))

    def _settle(self, now: float) -> None:
        """Routes wait from now on until clusters are acknowledged, or the deadline has passed."""
        self._routes_held_until, self._settling = now + WARM_DEADLINE_S, self._clusters_at

    def _overdue(self, clusters: _Type, now: float) -> bool:
        """Whether there is more to say of clusters than an answer that does not come should hold up: Envoy answers nothing
        while one of them warms, and takes changes all the same."""
        told = tuple(clusters.sent.get(c.number, 0) for c in self.collections.get(CLUSTER, ()))
        return now >= self._ack_deadline and told != self._clusters_at

    @property
    def _started(self) -> bool:
        """Whether the client listens already, perhaps since an earlier stream; until then Envoy itself waits for its clusters."""
        listeners = self._types.get(LISTENER)
        return listeners is not None and (listeners.acked > 0 or listeners.resumed)

    def _resend_endpoints(self, clusters: _Type) -> None:
        """Endpoints of clusters just sent go again: a changed cluster warms until it hears of them, and Envoy does not ask
        twice. It acknowledges clusters only when all are warm, which is the sign that routes may follow."""
        endpoints = self._types.get(ENDPOINTS)
        if endpoints is None or not endpoints.subscribed:
            return
        for c in self.collections.get(CLUSTER, ()):
            for name in clusters.pending:
                made = c.resources.get(name)
                if made is not None and made.endpoints in endpoints.subscribed:
                    endpoints.resend.add(made.endpoints)

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
        self._settle(now)
        self._ack_deadline = now + WARM_DEADLINE_S
        message = self._respond(CLUSTER, state, keep=state.removed - due)
        return [message] if message is not None else []

    def _key(self, url: str, state: _Type) -> Key | None:
        """What decides the bytes of the next response, for streams that are in the same state; None if nobody else is."""
        if state.known is not None or state.resend or state.removed or not self.delta:
            return None
        parts = self.collections.get(url, ())
        sent, version = tuple(state.sent.get(c.number, 0) for c in parts), tuple(c.seq for c in parts)
        if not state.requested and sent == version:
            return None  # nothing new: what is said then, if anything, depends on what was said before
        whole = state.wildcard and not any(self._by_name(c) for c in parts)
        asked = sent, whole or state.subscribed, frozenset(state.requested)
        return Key((url, *(c.number for c in parts)), version, asked)

    def _changes(self, url: str, state: _Type) -> tuple[list[Resource], set[str], bool]:
        """(resources to send, names gone, whether there is anything to say)."""
        parts = self.collections.get(url, ())
        send: dict[str, Resource] = {}
        removed: set[str] = set()
        for c in parts:
            at = state.sent.get(c.number, 0)
            if at == c.seq and not (state.requested or state.resend):
                continue
            names = c.since(at)
            wanted: Iterable[str] = c.resources if names is None else names
            limit = self._limited(state, c)
            if limit is not None:
                changed = c.resources if names is None else names
                small, large = (changed, limit) if len(changed) < len(limit) else (limit, changed)
                wanted = [n for n in small if n in large]
            for name in wanted:
                made = c.resources.get(name)
                if made is None:
                    removed.add(name)
                else:
                    send[name] = made
            for name in (*state.requested, *state.resend):
                made = c.resources.get(name)
                if made is not None:
                    send[name] = made
        if state.known is not None:
            have = state.known
            send = {n: r for n, r in send.items() if have.get(n) != r.version or n in state.resend}
            present = {n for c in parts for n in c.resources}
            removed |= {n for n in have if n not in present}
        # Only what the client holds by itself is taken back: it drops endpoints and routes with their clusters and listeners.
        removed = removed - send.keys() if state.wildcard else set()
        first = state.acked == 0 and not state.error and not state.sent and state.known is None
        return list(send.values()), removed, bool(send or removed or (first and state.wildcard))

    def _respond(
        self, url: str, state: _Type, removals: bool = True, keep: AbstractSet[str] = frozenset()
    ) -> bytes | None:
        key = self._key(url, state)
        if key is not None and (cached := self._cache.get(key)) is not None:
            self._sent(url, state)
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
        removed_names = sorted(removed | self._unknown(url, state))
        self._sent(url, state)
        if not anything and not removed_names:
            return None
        self._count += 1
        if removed_names:
            key = None  # nobody else is told exactly this
        # The nonce of a response that others get too says what is in it, so that all of it is the same bytes.
        nonce = state.nonce = f"{self._count:x}" if key is None else _nonce(key)
        state.pending = frozenset(r.name for r in send)
        if not self.delta:
            return self._sotw(url, state, nonce)
        body = wire.delta_response(url, nonce, sorted(send, key=lambda r: r.name), removed_names)
        if key is not None:
            self._cache.put(key, body, state.pending)
        return body

    def _sent(self, url: str, state: _Type) -> None:
        for c in self.collections.get(url, ()):
            state.sent[c.number] = c.seq
        state.requested, state.resend, state.known = set(), set(), None

    def _unknown(self, url: str, state: _Type) -> set[str]:
        """Names that the client waits for, because it asked for them or warms a changed cluster, and that do not exist: it is
        told so, or it would wait for ever."""
        return (state.requested | state.resend).difference(*(c.resources for c in self.collections.get(url, ())))

    def _sotw(self, url: str, state: _Type, nonce: str) -> bytes:
        found = [
            r
            for c in self.collections.get(url, ())
            for n, r in c.resources.items()
            if state.wildcard or n in (state.subscribed or frozenset())
        ]
        found.sort(key=lambda r: r.name)
        return wire.response(url, nonce, nonce, found)
