"""Accepts connections within limits, so that clients who have not said who they are can exhaust neither memory nor descriptors.

A connection is *unauthenticated* until the server says whose it is. There may be a limited number of unauthenticated ones.
One more replaces the oldest of the address that has the most, a silent one first: a flood from one address closes its own
connections. Each gets at least its turn before it is replaced, and no more are accepted until then: whoever connects has
the time to authenticate, however many others connect. Authenticated connections are limited for each user and for all users together, apart
from the unauthenticated; privileged users, such as the cluster's own components, have no limit. Must know no protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

BACKLOG = 1024
_SWEEP_S = 2.0
_LOG_EVERY_S = 10.0
_ACCEPT_PAUSE_S = 0.1  # after an error, which is a shortage of descriptors or memory


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, how long one may stay unauthenticated (None: until it is replaced), and how long it
    stays at least: shorter when nothing comes on it."""

    unauthenticated: int = 256
    per_user: int = 1000
    users: int = 4000
    handshake_s: float = 10.0
    unauthenticated_s: float | None = 10.0
    turn_s: float = 0.25
    silent_turn_s: float = 0.1


@dataclass(eq=False)
class _Connection:
    address: str
    active: float  # when it was accepted, or was answered last
    handshake: asyncio.Task[None] | None = None
    transport: asyncio.Transport | None = None
    silent: bool = True  # nothing has come yet
    user: str = ""  # empty while it is unauthenticated
    limited: bool = True

    def is_closed(self) -> bool:
        return self.handshake is None and (self.transport is None or self.transport.is_closing())

    def abort(self) -> None:
        if self.handshake is not None:
            self.handshake.cancel()
        if self.transport is not None:
            self.transport.abort()


class Connections:
    """The connections of a server. `name` is the server's in the log."""

    def __init__(self, name: str, limits: ConnectionLimits) -> None:
        self._name, self._limits = name, limits
        self._unauthenticated: dict[_Connection, None] = {}  # the one that was active longest ago comes first
        self._authenticated: set[_Connection] = set()
        self._by_transport: dict[Any, _Connection] = {}
        self._closed = 0  # since the last collection of garbage
        self._reports: dict[str, tuple[float, int]] = {}

    async def serve(
        self, listener: socket.socket, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None
    ) -> None:
        """Accept connections until the task is cancelled, then close the listener."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        sweep = asyncio.create_task(self._sweep_regularly(), name=f"connections of {self._name}")

        def establish(sock: socket.socket, peer: Any) -> None:
            connection = _Connection(_address(peer), loop.time())
            connection.handshake = asyncio.create_task(self._establish(connection, sock, factory, context))
            self._unauthenticated[connection] = None

        def accept(stopped: asyncio.Future[OSError | None]) -> None:
            """Accept all that wait, at once: a connection that is not accepted yet outlives this process."""
            try:
                while len(self._unauthenticated) < self._limits.unauthenticated:
                    establish(*listener.accept())
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not stopped.done():
                    stopped.set_result(error)
                return
            if not stopped.done():
                stopped.set_result(None)

        try:
            while True:
                stopped: asyncio.Future[OSError | None] = loop.create_future()
                loop.add_reader(listener, accept, stopped)
                try:
                    error = await stopped
                finally:
                    loop.remove_reader(listener)
                if error is None:
                    try:
                        sock, peer = await loop.sock_accept(listener)
                    except OSError as failed:
                        error = failed
                if error is not None:
                    self._report("connections that could not be accepted", str(error))
                    self._sweep()
                    await asyncio.sleep(_ACCEPT_PAUSE_S)
                    continue
                await self._make_room(_address(peer))
                establish(sock, peer)
                await asyncio.sleep(0)  # the closed one is gone before the next is accepted, and others have their turn
        finally:
            sweep.cancel()
            listener.close()

    def authenticate(self, transport: asyncio.BaseTransport | None, user: str, privileged: bool) -> bool:
        """Note whose connection it is. False if the user, or all users together, have too many: the caller closes it."""
        connection = self._by_transport.get(transport)
        if connection is None or connection.user:
            return True
        if not privileged:
            limited = [c for c in self._authenticated if c.limited and not c.is_closed()]
            if len(limited) >= self._limits.users:
                self._report("connections of users over the limit for all", f"limit {self._limits.users}")
                return False
            if sum(c.user == user for c in limited) >= self._limits.per_user:
                self._report("connections of a user over the limit", f"user {user}, limit {self._limits.per_user}")
                return False
        connection.user, connection.limited = user, not privileged
        self._unauthenticated.pop(connection, None)
        self._authenticated.add(connection)
        return True

    def touch(self, transport: asyncio.BaseTransport | None) -> None:
        """An unauthenticated client was answered: it may ask again."""
        connection = self._by_transport.get(transport)
        if connection is not None and connection in self._unauthenticated:
            del self._unauthenticated[connection]
            connection.active = asyncio.get_running_loop().time()
            self._unauthenticated[connection] = None

    async def _establish(
        self,
        connection: _Connection,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
    ) -> None:
        limit = self._limits.handshake_s if context is not None else None
        owned = True  # until a transport has the socket
        try:
            await _readable(sock)  # TLS takes 60 KiB; a connection on which nothing comes does not get them
            connection.silent, owned = False, False
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                factory, sock, ssl=context, ssl_handshake_timeout=limit
            )
        except (OSError, asyncio.CancelledError):  # closed, or no TLS, or too late
            # A transport that is cancelled before TLS has begun does not close itself, but sees the end of the connection.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            if owned:
                sock.close()
            self._forget(connection)
        else:
            connection.transport = transport
            self._by_transport[transport] = connection
        finally:
            connection.handshake = None

    async def _make_room(self, address: str) -> None:
        """Close connections, once they have had their turn, until one more from `address` is within the limit."""
        while len(self._unauthenticated) >= self._limits.unauthenticated:
            self._sweep()
            counts = Counter(c.address for c in self._unauthenticated)
            counts[address] += 1
            most, count = counts.most_common(1)[0]
            if len(self._unauthenticated) < self._limits.unauthenticated:
                return
            candidates = [c for c in self._unauthenticated if c.address == most] or [*self._unauthenticated]
            now = asyncio.get_running_loop().time()
            silent = next((c for c in candidates if c.silent and c.active + self._limits.silent_turn_s <= now), None)
            oldest = silent or candidates[0]
            early = oldest.active + self._limits.turn_s - now
            if silent is None and early > 0:
                await asyncio.sleep(min(early, self._limits.silent_turn_s))
                continue
            self._close(oldest)
            limit = f"limit {self._limits.unauthenticated}, most of them ({count}) from {most or 'a local socket'}"
            self._report("unauthenticated connections over the limit", limit)

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._sweep()

    def _sweep(self) -> None:
        """Forget closed connections, and close those that have been unauthenticated for too long."""
        if self._closed >= self._limits.unauthenticated:
            self._closed = 0
            gc.collect(1)  # a closed TLS connection is cyclic garbage, with its buffers
        for connection in [*self._unauthenticated, *self._authenticated]:
            if connection.is_closed():
                self._forget(connection)
        if self._limits.unauthenticated_s is None:
            return
        latest = asyncio.get_running_loop().time() - self._limits.unauthenticated_s
        for connection in [c for c in self._unauthenticated if c.active < latest]:
            self._close(connection)
            self._report(
                "connections on which nobody authenticated in time", f"limit {self._limits.unauthenticated_s:g} s"
            )

    def _close(self, connection: _Connection) -> None:
        connection.abort()
        self._closed += 1
        self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        self._unauthenticated.pop(connection, None)
        self._authenticated.discard(connection)
        if connection.transport is not None:
            self._by_transport.pop(connection.transport, None)

    def _report(self, what: str, detail: str) -> None:
        """Log a reason for closing connections, with their number since the last report, at most every ten seconds."""
        now = asyncio.get_running_loop().time()
        reported_at, number = self._reports.get(what, (-_LOG_EVERY_S, 0))
        number += 1
        if now - reported_at >= _LOG_EVERY_S:
            log.warning("%s: closed %d %s (%s)", self._name, number, what, detail)
            reported_at, number = now, 0
        self._reports[what] = (reported_at, number)


def _address(peer: Any) -> str:
    return str(peer[0]) if isinstance(peer, tuple) else ""


async def _readable(sock: socket.socket) -> None:
    """Wait until the client has sent something. Raises OSError if it has closed the connection instead."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)
    if not sock.recv(1, socket.MSG_PEEK):
        raise ConnectionResetError("closed before anything was sent")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address. Raises OSError. asyncio sends without delay only where the protocol is given; otherwise
    the second part of an answer waits for the acknowledgement of the first, which takes 40 ms."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        with contextlib.suppress(OSError):
            listener.close()
        raise
    return listener
