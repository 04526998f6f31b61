"""The listeners of a Gateway and of its ListenerSets as one list: which of them has each port and host name. Pure.

A change costs what it concerns: the host names of the listeners that change, and the whole port if it gets another protocol. Must not judge
a listener by itself; `gateway_listeners` does. Source: the Gateway API's specification, Gateway.spec.listeners and GEP-1713.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

from sailcloth.api.meta import Key
from sailcloth.lib.relation import Relation

from . import hosts
from .gateway_listeners import ListenerState, Port, Verdict, overlap, port_of

K = TypeVar("K")
Rank = tuple[str, str, str]
"""The precedence of a parent of listeners: age, namespace and name of a ListenerSet."""
FIRST: Rank = ("", "", "")
"""The rank of the Gateway itself."""
_SHARING = {"HTTPS": "TLS"}
"""Protocols that share a port with another, told apart by the name that clients ask for."""
_ANOTHER = "another listener of the Gateway"


class Name(NamedTuple):
    """A host name on a port."""

    port: Port
    host: str


class Change(NamedTuple):
    """`listeners`: those that have changed, by ident; None if they are gone. `names`: those that another listener serves, or the same
    one in another way; the listener that served each before, None if it is new."""

    listeners: dict[str, ListenerState | None]
    names: dict[Name, ListenerState | None]


class _Claim(NamedTuple):
    """A listener's claim to its port and name. Sorts by precedence."""

    rank: Rank
    position: int
    protocol: str
    name: Name
    ident: str


class MergedListeners:
    """`states` of all listeners by ident, with their conflicts; `serving`: those that have a name and can serve it."""

    def __init__(self) -> None:
        self.states: dict[str, ListenerState] = {}
        self.serving: dict[Name, ListenerState] = {}
        self._judged: dict[Key, tuple[ListenerState, ...]] = {}  # by parent, without conflicts
        self._claims: dict[str, _Claim] = {}
        self._at_port: dict[Port, list[_Claim]] = {}
        self._at_name: dict[Name, list[_Claim]] = {}
        self._below: Relation[Name, Name] = Relation()  # names that are served, at the wildcards above them

    def put(self, parent: Key, rank: Rank, listeners: tuple[ListenerState, ...] = ()) -> Change:
        """Replace the listeners of a Gateway or ListenerSet, which know nothing of conflicts yet. Of several of one name the first counts."""
        listeners = tuple({s.ident: s for s in reversed(listeners)}.values())[::-1]
        old = [s.ident for s in self._judged.pop(parent, ())]
        claims = [
            _Claim(rank, i, _family(s), Name(port_of(s.listener), _claimed(s)), s.ident)
            for i, s in enumerate(listeners)
            if s.accepted[0]
        ]
        names = {c.name for c in claims} | {self._claims[i].name for i in old if i in self._claims}
        ports = {n.port: self._protocol(n.port) for n in names}
        holders = {n: self._holder(n) for n in names}
        for claim in [self._claims.pop(i) for i in old if i in self._claims]:
            _discard(self._at_port, claim.name.port, claim)
            _discard(self._at_name, claim.name, claim)
        for claim in claims:
            self._claims[claim.ident] = claim
            bisect.insort(self._at_port.setdefault(claim.name.port, []), claim)
            bisect.insort(self._at_name.setdefault(claim.name, []), claim)
        if listeners:
            self._judged[parent] = listeners
        concerned = dict.fromkeys([*old, *(s.ident for s in listeners)])
        for name, holder in holders.items():
            if (new := self._holder(name)) != holder:
                concerned |= dict.fromkeys(i for i in (holder, new) if i)
        for port, protocol in ports.items():
            if self._protocol(port) != protocol:
                beside = self._at_port.get(port, [])
                concerned |= dict.fromkeys(c.ident for c in beside)
                names |= {c.name for c in beside}
        return self._settle({s.ident: s for s in listeners}, concerned, names)

    def of(self, parent: Key) -> tuple[ListenerState, ...]:
        """The listeners of a Gateway or ListenerSet."""
        return tuple(self.states[s.ident] for s in self._judged.get(parent, ()))

    def since(self, old: MergedListeners) -> Change:
        """All listeners, and the names that others serve than in another list."""
        listeners: dict[str, ListenerState | None] = {**dict.fromkeys(old.states), **self.states}
        names = [n for n in old.serving | self.serving if old.serving.get(n) != self.serving.get(n)]
        return Change(listeners, {n: old.serving.get(n) for n in names})

    # -- host names ------------------------------------------------------------------------------

    def is_guarded(self, listener: ListenerState) -> bool:
        """Whether a listener with a wider host name serves the same port."""
        own = port_of(listener.listener)
        above = (p for p in hosts.wildcards(listener.hostname) if p != listener.hostname)
        return any(Name(own, pattern) in self.serving for pattern in above)

    def below(self, name: Name) -> Iterator[ListenerState]:
        """The listeners that serve narrower host names of the port."""
        return (self.serving[n] for n in sorted(self._below.at(name)))

    def exposed(self, listener: ListenerState, names: tuple[str, ...]) -> list[str]:
        """The hosts of a route that a listener serves: where both overlap, without what a listener with a narrower host name serves."""
        return [h for h in overlap(listener, names) if not self._is_narrower(listener, h)]

    def _is_narrower(self, listener: ListenerState, host: str) -> bool:
        own = port_of(listener.listener)
        between = (p for p in (host, *hosts.wildcards(host)) if p != listener.hostname)
        return any(Name(own, p) in self.serving and hosts.covers(listener.hostname, p) for p in between)

    # -- conflicts -------------------------------------------------------------------------------

    def _protocol(self, port: Port) -> str:
        """The protocol of a port: that of its first listener."""
        claims = self._at_port.get(port)
        return claims[0].protocol if claims else ""

    def _holder(self, name: Name) -> str:
        """The ident of the listener that has a name: the first one of the port's protocol."""
        protocol = self._protocol(name.port)
        return next((c.ident for c in self._at_name.get(name, ()) if c.protocol == protocol), "")

    def _settle(self, judged: dict[str, ListenerState], concerned: Iterable[str], names: Iterable[Name]) -> Change:
        """Evaluate listeners again, and who serves names. judged: those that are new."""
        change = Change({}, {})
        for ident in concerned:
            old = self.states.get(ident)
            base = judged.get(ident) or (old if ident in self._claims else None)
            new = replace(base, conflicted=self._conflict(base)) if base is not None else None
            if new != old:
                change.listeners[ident] = new
            if new is not None:
                self.states[ident] = new
            else:
                self.states.pop(ident, None)
        for name in names:
            before, holder = self.serving.get(name), self.states.get(self._holder(name))
            after = holder if holder is not None and holder.serves else None
            if before != after:
                change.names[name] = before
                self._serve(name, after)
        return change

    def _serve(self, name: Name, listener: ListenerState | None) -> None:
        if listener is None:
            del self.serving[name]
            self._below.put(name)
        else:
            self.serving[name] = listener
            self._below.put(name, [Name(name.port, p) for p in hosts.wildcards(name.host) if p != name.host])

    def _conflict(self, state: ListenerState) -> Verdict:
        """Whether a listener that comes before has the port with another protocol, or the same name. One that is not accepted by itself claims
        nothing. Of other objects nothing is said but that there is one."""
        claim = self._claims.get(state.ident)
        if claim is None or self._holder(claim.name) == state.ident:
            return False, "NoConflicts", ""
        protocol = self._protocol(claim.name.port)
        siblings = ((s.listener.name, self._claims.get(s.ident)) for s in self._judged[state.parent])
        before = [(name, c) for name, c in siblings if c is not None and c < claim and c.protocol == protocol]
        if claim.protocol != protocol:
            port = claim.name.port
            what = next((f"listener {name}" for name, c in before if c.name.port == port), _ANOTHER)
            return True, "ProtocolConflict", f"port {port[0]} is {protocol} in {what}"
        what = next((f"listener {name}" for name, c in before if c.name == claim.name), _ANOTHER)
        return True, "HostnameConflict", f"{what} has the same port and host name"


def _family(state: ListenerState) -> str:
    return _SHARING.get(state.listener.protocol, state.listener.protocol)


def _claimed(state: ListenerState) -> str:
    """The host name that no other listener of the port may have: all where there is none in the protocol."""
    return "*" if state.listener.protocol in ("TCP", "UDP") else state.hostname


def _discard(claims: dict[K, list[_Claim]], at: K, claim: _Claim) -> None:
    found = claims[at]
    del found[bisect.bisect_left(found, claim)]
    if not found:
        del claims[at]
