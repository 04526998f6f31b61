"""Cluster DNS over UDP and TCP. Names outside the cluster's domain are forwarded through a socket of the host's network.

AAAA queries for existing names, and queries for empty non-terminals, get NODATA, not NXDOMAIN.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sailcloth.lib import dnsmessage
from sailcloth.lib.dnsmessage import encode_name

_TTL = 5
_MAX_CNAMES = 8  # one behind the other, at most
_MAX_WAITING = 4096  # queries for names of a zone that is not complete
_NONE: Mapping[str, str] = MappingProxyType({})

_SOA = (
    encode_name("ns.dns.cluster.local")
    + encode_name("hostmaster.cluster.local")
    + struct.pack(">IIIII", 1, 7200, 1800, 86400, 5)
)
Answer = tuple[int, int, int, bytes]  # code, answers, authorities, records


class Zone:
    """Names and their addresses."""

    def __init__(self, domain: str = "cluster.local") -> None:
        self._domain = encode_name(domain)
        self._names: dict[bytes, list[bytes]] = {}
        self._aliases: Mapping[str, str] = _NONE
        self._parents: set[bytes] = set()
        self._cache: dict[bytes, Answer] = {}
        self.complete = True  # false: a name of this zone that is not known may still exist

    def replace(self, names: Mapping[str, Iterable[str]], aliases: Mapping[str, str] = _NONE) -> None:
        """Set all names at once; `aliases` are names that stand for others, here or elsewhere."""
        self._aliases = aliases
        self._names = {encode_name(k): [socket.inet_aton(a) for a in sorted(v)] for k, v in names.items()}
        self._parents = set()
        for name in self._names:
            rest = name
            while len(rest) > 1:
                rest = rest[rest[0] + 1 :]
                self._parents.add(rest)
        self._cache.clear()

    def alias(self, name: str) -> str:
        """The end of a name's CNAME chain; empty if it has none."""
        target = ""
        for _ in range(_MAX_CNAMES):
            value = self._aliases.get(target or name)
            if value is None:
                break
            target = value
        return target

    def addresses(self, name: str) -> list[bytes] | None:
        """Addresses of a name of this zone; None for names that are not ours."""
        wire = encode_name(name)
        return self._names.get(wire, [] if wire.endswith(self._domain) else None)

    def unknown(self, name: bytes) -> bool:
        """Whether a name in lower case, as in a message, is of this zone but not known."""
        return name.endswith(self._domain) and name not in self._names

    def answer(self, question: bytes) -> Answer | None:
        """For a lower-case question (name, type, class); None for names that are not ours."""
        known = self._cache.get(question)
        if known is not None:
            return known
        name, kind = question[:-4], struct.unpack(">H", question[-4:-2])[0]
        ours = name.endswith(self._domain)
        at = struct.pack(">H", 0xC000 | 12 + len(name) - len(self._domain)) if ours else b"\xc0\x0c"
        negative = at + struct.pack(">HHIH", 6, 1, _TTL, len(_SOA)) + _SOA
        addresses = self._names.get(name)
        created: Answer
        if addresses is not None:
            if kind in (1, 255):
                records = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, _TTL, 4) + a for a in addresses]
                created = (0, len(records), 0, b"".join(records))
            else:
                created = (0, 0, 1, negative)
        elif ours:
            created = (0 if name in self._parents else 3, 0, 1, negative)
        else:
            return None
        if len(self._cache) > 20_000:
            self._cache.clear()
        self._cache[question] = created
        return created


class Server(asyncio.DatagramProtocol):
    """Answers over UDP; `tcp` is the handler for the same over TCP."""

    def __init__(self, zone: Zone, upstream: Upstream | None = None) -> None:
        self._zone, self._upstream = zone, upstream
        self._transport: Any = None
        self._waiting: list[tuple[bytes, Callable[[bytes], None]]] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.resolve(data, lambda answer: self._transport.sendto(answer, address))

    def resolve(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        """Answer one query, now or when the upstream has answered."""
        asked = dnsmessage.question(data)
        if asked is None:
            return
        if (query := dnsmessage.Query.parse(data)) is not None and (target := self._zone.alias(query.name)):
            self._resolve_cname(query, target, reply)
            return
        if not self._zone.complete and self._zone.unknown(asked.lower()[:-4]):
            if len(self._waiting) < _MAX_WAITING:
                self._waiting.append((data, reply))
            return
        result = self._zone.answer(asked.lower())
        if result is not None:
            code, answers, authorities, records = result
            flags = bytes([0x84 | data[2] & 1, 0x80 | code])
            counts = struct.pack(">HHHH", 1, answers, authorities, 0)
            reply(data[:2] + flags + counts + asked + records)
        elif self._upstream is not None:
            self._upstream.forward(data, reply)
        else:  # no upstream: answer at once, or clients retry for seconds
            reply(data[:2] + bytes([0x80 | data[2] & 1, 0x83]) + struct.pack(">HHHH", 1, 0, 0, 0) + asked)

    def answer_waiting(self) -> None:
        """Answer the queries that waited until the zone was complete."""
        waiting, self._waiting = self._waiting, []
        for data, reply in waiting:
            self.resolve(data, reply)

    def _resolve_cname(self, query: dnsmessage.Query, target: str, reply: Callable[[bytes], None]) -> None:
        """Answer with a CNAME and the addresses of its target, from the zone or from upstream."""
        own = self._zone.addresses(target)
        if own is not None or self._upstream is None:
            addresses = own if own and query.kind in (dnsmessage.A, dnsmessage.ANY) else []
            reply(query.answer(addresses, _TTL, target))
            return
        kind = query.kind if query.kind == dnsmessage.AAAA else dnsmessage.A

        def answered(message: bytes) -> None:
            code, result = dnsmessage.addresses(message, kind)
            reply(query.failure(code) if code == dnsmessage.SERVER_FAILURE else query.answer(result, _TTL, target))

        self._upstream.forward(dnsmessage.query(target, kind), answered)

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                self.resolve(await reader.readexactly(length), lambda a: writer.write(struct.pack(">H", len(a)) + a))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


class Upstream(asyncio.DatagramProtocol):
    """Forwards over a connected UDP socket of the host's network."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[bytes, Callable[[bytes], None]]] = {}
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def forward(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        ident = random.getrandbits(16)
        while ident in self._waiting and len(self._waiting) < 60_000:
            ident = random.getrandbits(16)
        self._waiting[ident] = (data[:2], reply)
        self._transport.sendto(struct.pack(">H", ident) + data[2:])
        asyncio.get_running_loop().call_later(5, self._waiting.pop, ident, None)

    def datagram_received(self, data: bytes, address: Any) -> None:
        waiting = self._waiting.pop(struct.unpack(">H", data[:2])[0], None) if len(data) > 12 else None
        if waiting is not None:
            waiting[1](waiting[0] + data[2:])

    def error_received(self, error: Exception) -> None:
        """The host's resolver refuses: queries time out, as on the host."""
