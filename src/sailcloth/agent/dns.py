"""The DNS proxy of one pod, served by the agent through sockets in the pod's network namespace.

Names of the mesh are resolved here; other queries are forwarded to the pod's resolver. There is no cache, and the number of
pending queries is bounded. Source: Istio's DNS proxying.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

from sailcloth.lib import dnsmessage
from sailcloth.lib.dnsmessage import Query

from .name_tables import NameTables
from .netns import PodSockets, run_in

log = logging.getLogger(__name__)

PORT, FORWARD_PORT = 15053, 15054  # Envoy uses the second, which only forwards
TTL_S = 30  # Istio's
MAX_PENDING = 1024  # queries that wait for the upstream resolver
MAX_CONNECTIONS = 64
_TIMEOUT_S = 5.0
_SO_MARK = 36
_VERSIONS = {dnsmessage.A: 4, dnsmessage.AAAA: 6}

Reply = Callable[[bytes], None]


class Resolver(asyncio.DatagramProtocol):
    """Client of the pod's upstream resolver, over a socket whose packets are marked as not to be captured."""

    def __init__(self, netns_fd: int, server: str, mark: int, port: int = 53) -> None:
        self._netns_fd, self._server, self._mark, self._port = netns_fd, server, mark, port
        self._pending: dict[int, tuple[bytes, bytes, Reply, asyncio.TimerHandle]] = {}
        self._transport: Any = None
        self.failures = 0  # queries without an answer

    async def start(self) -> None:
        """Raises OSError."""
        created = run_in(self._netns_fd, lambda: self._socket(socket.SOCK_DGRAM))
        try:
            created.connect((self._server, self._port))
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=created)
        except OSError:
            created.close()
            raise

    def close(self) -> None:
        for _, _, _, timer in self._pending.values():
            timer.cancel()
        self._pending.clear()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def forward(self, data: bytes, query: Query, reply: Reply) -> None:
        """Forward a query; `reply` gets the response, or SERVFAIL if too many queries are pending."""
        if len(self._pending) >= MAX_PENDING:
            self.failures += 1
            reply(query.failure(dnsmessage.SERVER_FAILURE))
            return
        ident = random.getrandbits(16)
        while ident in self._pending:
            ident = random.getrandbits(16)
        timer = asyncio.get_running_loop().call_later(_TIMEOUT_S, self._give_up, ident)
        self._pending[ident] = (data[:2], query.question.lower(), reply, timer)
        self._transport.sendto(struct.pack(">H", ident) + data[2:])

    def _give_up(self, ident: int) -> None:
        del self._pending[ident]
        self.failures += 1

    def datagram_received(self, data: bytes, address: Any) -> None:
        if len(data) < 12:
            return
        (ident,) = struct.unpack(">H", data[:2])
        waiting = self._pending.get(ident)
        if waiting is None or data[12 : 12 + len(waiting[1])].lower() != waiting[1]:
            return  # late, or a response to another question
        del self._pending[ident]
        waiting[3].cancel()
        waiting[2](waiting[0] + data[2:])

    def error_received(self, error: Exception) -> None:
        """The resolver's host refuses: the askers come again by themselves, as they do without us."""

    async def forward_tcp(self, data: bytes) -> bytes:
        """Forward one query over TCP. Raises OSError, TimeoutError, EOFError."""
        created = run_in(self._netns_fd, lambda: self._socket(socket.SOCK_STREAM))
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(created, (self._server, self._port))
                reader, writer = await asyncio.open_connection(sock=created)
                try:
                    writer.write(struct.pack(">H", len(data)) + data)
                    return await _read_message(reader)
                finally:
                    writer.close()
        except OSError:
            created.close()
            raise

    def _socket(self, kind: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        if self._mark:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, self._mark)
        return sock


class DnsServer(asyncio.DatagramProtocol):
    """Serves UDP and TCP on one port of the pod's loopback. Without name tables it only forwards."""

    def __init__(self, sockets: PodSockets, port: int, resolver: Resolver, names: NameTables | None = None) -> None:
        self._sockets, self._port, self._resolver, self._names = sockets, port, resolver, names
        self._transport: Any = None
        self._server: asyncio.Server | None = None
        self._connections = 0
        self.answered = self.forwarded = 0

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        datagrams = self._sockets.bound(socket.SOCK_DGRAM, "127.0.0.1", self._port)
        try:
            stream = self._sockets.bound(socket.SOCK_STREAM, "127.0.0.1", self._port, MAX_CONNECTIONS)
        except OSError:
            datagrams.close()
            raise
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=datagrams)
        self._server = await asyncio.start_server(self._serve, sock=stream)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()

    # -- UDP ------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        query = Query.parse(data)
        if query is None:
            return
        created = self.answer(query)
        if created is not None:
            self._transport.sendto(query.fitted(created), address)
        else:
            self._resolver.forward(data, query, lambda answer: self._transport.sendto(answer, address))

    def answer(self, query: Query) -> bytes | None:
        """The answer to a query for an address of a name that the mesh knows; None if the resolver is to be asked.

        A known name without an address of the version asked for has an empty answer: NXDOMAIN would say that it has none at all.
        """
        version = _VERSIONS.get(query.kind)
        result = self._names.lookup(query.name) if self._names is not None and version else None
        if result is None or version is None:
            self.forwarded += 1
            return None
        self.answered += 1
        addresses = list(result.addresses_of(version))
        if len(addresses) > 1:
            random.shuffle(addresses)  # clients take the first
        return query.answer(addresses, TTL_S, result.alias)

    # -- TCP ------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            while self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(2 * _TIMEOUT_S):
                    data = await _read_message(reader)
                query = Query.parse(data)
                if query is None:
                    return
                created = self.answer(query)
                if created is None:
                    try:
                        created = await self._resolver.forward_tcp(data)
                    except (OSError, EOFError):
                        created = query.failure(dnsmessage.SERVER_FAILURE)
                writer.write(struct.pack(">H", len(created)) + created)
                await writer.drain()
        except (OSError, EOFError):
            pass  # the client disconnected or timed out
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Read one message and its length prefix."""
    (length,) = struct.unpack(">H", await reader.readexactly(2))
    return await reader.readexactly(length)


def resolv_conf(text: str) -> tuple[list[str], list[str]]:
    """(name servers, search list) of a resolv.conf. The last `search` or `domain` line counts, as in the C library."""
    servers: list[str] = []
    search: list[str] = []
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            search = rest
    return servers, search
