"""Relays datagrams between a UDP socket of the host and the endpoints of a service.

All datagrams of a client's address are a session, which has a socket and an endpoint of its own, so that answers find their way back.
Sessions are bounded: an idle one ends, and if there are too many, the one that has been idle longest does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

_MAX_SESSIONS = 1024
_IDLE_S = 60.0
_BATCH = 64  # datagrams of a socket that are read before others get their turn
_LARGEST = 65_535  # bytes of a datagram
Address = tuple[str, int]


@dataclass
class _Session:
    socket: socket.socket
    used: float


class DatagramRelay:
    """Relays from a bound socket, which it owns, until `close`. `endpoint` chooses where a session goes; None: nowhere."""

    def __init__(
        self,
        sock: socket.socket,
        endpoint: Callable[[], Address | None],
        *,
        sessions: int = _MAX_SESSIONS,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._socket, self._endpoint, self._max, self._idle_s = sock, endpoint, sessions, idle_s
        self._sessions: dict[Address, _Session] = {}  # the one that has been idle longest comes first
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._from_clients)

    def close(self) -> None:
        """End all sessions, and close the socket."""
        if self._timer is not None:
            self._timer.cancel()
        for client in list(self._sessions):
            self._end(client)
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def __len__(self) -> int:
        return len(self._sessions)

    def _from_clients(self) -> None:
        for _ in range(_BATCH):
            try:
                data, client = self._socket.recvfrom(_LARGEST)
            except OSError:
                return
            session = self._session(client)
            if session is None:
                continue
            try:
                session.socket.send(data)
            except BlockingIOError:
                continue  # as on any way of a datagram: it is lost
            except OSError:
                self._end(client)  # refused: the next one may find another endpoint

    def _session(self, client: Address) -> _Session | None:
        """The session of a client, a new one if it has none; None if no endpoint takes it."""
        session = self._sessions.pop(client, None)
        if session is None and (endpoint := self._endpoint()) is not None:
            if len(self._sessions) >= self._max:
                self._end(next(iter(self._sessions)))
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(endpoint)
            except OSError:
                sock.close()
                return None
            session = _Session(sock, 0.0)
            self._loop.add_reader(sock.fileno(), self._to_client, session, client)
            if self._timer is None:
                self._timer = self._loop.call_later(self._idle_s, self._expire)
        if session is not None:
            session.used = self._loop.time()
            self._sessions[client] = session
        return session

    def _to_client(self, session: _Session, client: Address) -> None:
        for _ in range(_BATCH):
            try:
                data = session.socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self._end(client)
                return
            session.used = self._loop.time()
            self._sessions[client] = self._sessions.pop(client)
            with contextlib.suppress(OSError):
                self._socket.sendto(data, client)

    def _expire(self) -> None:
        """End the sessions that are idle, and wait for the next."""
        self._timer = None
        while self._sessions:
            client, session = next(iter(self._sessions.items()))
            left = session.used + self._idle_s - self._loop.time()
            if left > 0:
                self._timer = self._loop.call_later(left, self._expire)
                return
            self._end(client)

    def _end(self, client: Address) -> None:
        session = self._sessions.pop(client, None)
        if session is not None:
            self._loop.remove_reader(session.socket.fileno())
            session.socket.close()
