"""Ports of LoadBalancer and NodePort services on the host's loopback, as a cloud's balancer would offer them: a load balancer's
at its own address, node ports at 127.0.0.1.

The launcher, which lives in the host's network, makes the listening sockets; connections are accepted here and carried to a ready
endpoint of the service. The ingress gateway's HTTP and HTTPS ports are published without a relay besides, at ports of the user's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from sailcloth.local import egress

log = logging.getLogger(__name__)

Object = dict[str, Any]
Target = tuple[str, str, str]  # namespace, service, name of the port
Place = tuple[str, int]  # address and port on the host
Problem = Callable[[Target, Place, str], Awaitable[None]]
_CONNECT_S = 5.0
NODE = "127.0.0.1"


def _done(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def wanted(services: dict[tuple[str, str], Object]) -> dict[Place, Target]:
    """Place → service port, for all services that are to be reached from outside; the first by name keeps a place."""
    out: dict[Place, Target] = {}
    for (namespace, name), service in sorted(services.items()):
        spec = service["spec"]
        kind = spec.get("type")
        if kind not in ("LoadBalancer", "NodePort"):
            continue
        balancers = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
        addresses = [b["ip"] for b in balancers if b.get("ip")] if kind == "LoadBalancer" else []
        for port in spec.get("ports") or ():
            if port.get("protocol", "TCP") != "TCP":
                continue
            target = (namespace, name, str(port.get("name") or ""))
            places = [(a, int(port["port"])) for a in addresses]
            if port.get("nodePort"):
                places.append((NODE, int(port["nodePort"])))
            for place in places:
                out.setdefault(place, target)
    return out


class Published:
    """Follows what is wanted. `endpoints` gives the ready (address, port) of a service's port."""

    def __init__(self, channel_fd: int, endpoints: Callable[[Target], list[tuple[str, int]]], problem: Problem) -> None:
        self._channel = socket.socket(fileno=os.dup(channel_fd))
        self._channel.setblocking(False)
        self._endpoints, self._problem = endpoints, problem
        self._servers: dict[Place, asyncio.Server] = {}
        self._targets: dict[Place, Target] = {}
        self._refused: dict[Place, Target] = {}
        self._turn = itertools.count()
        self._lock = asyncio.Lock()

    async def apply(self, found: dict[Place, Target]) -> None:
        """Publish what is new, and take back what is no longer wanted."""
        async with self._lock:
            for place in [p for p in self._servers if p not in found]:
                self._servers.pop(place).close()
            self._refused = {p: t for p, t in self._refused.items() if found.get(p) == t}
            self._targets = found
            for place in [p for p in found if p not in self._servers and p not in self._refused]:
                try:
                    listener = await self._listener(place)
                except OSError as error:
                    self._refused[place] = found[place]
                    await self._problem(found[place], place, str(error))
                    continue
                accept = self._accepting(place)
                self._servers[place] = await asyncio.start_server(accept, sock=listener)

    async def _listener(self, place: Place) -> socket.socket:
        """A listening socket of the host. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._channel.send(json.dumps({"address": place[0], "port": place[1]}).encode())
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._channel.fileno(), _done, ready)
        try:
            await asyncio.wait_for(ready, _CONNECT_S)
        finally:
            loop.remove_reader(self._channel.fileno())
        data, fds, _, _ = socket.recv_fds(self._channel, 4096, 1)
        answer = json.loads(data) if data else {"error": "the launcher is gone"}
        if not fds:
            raise OSError(str(answer.get("error")))
        listener = socket.socket(fileno=fds[0])
        listener.setblocking(False)
        return listener

    def _accepting(self, place: Place) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other = None
            try:
                ready = self._endpoints(self._targets[place]) if place in self._targets else []
                if ready:
                    address, number = ready[next(self._turn) % len(ready)]
                    connection = asyncio.open_connection(address, number)
                    other_reader, other = await asyncio.wait_for(connection, _CONNECT_S)
                    await asyncio.gather(egress.pump(reader, other), egress.pump(other_reader, writer))
            except (OSError, TimeoutError):
                pass  # the caller sees its connection end
            finally:
                for each in (writer, other):
                    if each is not None:
                        with contextlib.suppress(OSError):
                            each.transport.abort()

        return accept
