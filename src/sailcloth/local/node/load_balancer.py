"""Publishes LoadBalancer and NodePort services on the host's loopback: a load balancer at its own address, node ports at 127.0.0.1.

The launcher, which runs in the host's network, opens the sockets; connections are accepted here and relayed to a ready endpoint, and so
are datagrams. The ingress gateway's HTTP and HTTPS ports are also published without a relay, at ports of the user's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from sailcloth.lib import descriptors
from sailcloth.local import egress

from .datagram_relay import DatagramRelay

log = logging.getLogger(__name__)

Object = dict[str, Any]
ServicePort = tuple[str, str, str]  # namespace, service, name of the port


class HostAddress(NamedTuple):
    """An address and port on the host. `protocol`: TCP or UDP, which have their own port numbers."""

    address: str
    port: int
    protocol: str = "TCP"


OnConflict = Callable[[ServicePort, HostAddress, str], Awaitable[None]]
_CONNECT_S = 5.0
NODE_PORT_ADDRESS = "127.0.0.1"


def host_addresses(services: dict[tuple[str, str], Object]) -> dict[HostAddress, ServicePort]:
    """Host addresses of all LoadBalancer and NodePort services; of two that claim one address, the first by name gets it."""
    out: dict[HostAddress, ServicePort] = {}
    for (namespace, name), service in sorted(services.items()):
        spec = service["spec"]
        kind = spec.get("type")
        if kind not in ("LoadBalancer", "NodePort"):
            continue
        balancers = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
        addresses = [b["ip"] for b in balancers if b.get("ip")] if kind == "LoadBalancer" else []
        for port in spec.get("ports") or ():
            protocol = port.get("protocol", "TCP")
            if protocol not in ("TCP", "UDP"):
                continue
            target = (namespace, name, str(port.get("name") or ""))
            host_addresses = [HostAddress(a, int(port["port"]), protocol) for a in addresses]
            if port.get("nodePort"):
                host_addresses.append(HostAddress(NODE_PORT_ADDRESS, int(port["nodePort"]), protocol))
            for address in host_addresses:
                out.setdefault(address, target)
    return out


class LoadBalancer:
    """Publishes service ports at host addresses. `endpoints` returns the ready (address, port) of a service port."""

    def __init__(
        self, channel_fd: int, endpoints: Callable[[ServicePort], list[tuple[str, int]]], on_conflict: OnConflict
    ) -> None:
        self._channel = socket.socket(fileno=os.dup(channel_fd))
        self._channel.setblocking(False)
        self._endpoints, self._on_conflict = endpoints, on_conflict
        self._servers: dict[HostAddress, asyncio.Server | DatagramRelay] = {}
        self._targets: dict[HostAddress, ServicePort] = {}
        self._conflicts: dict[HostAddress, ServicePort] = {}
        self._round_robin = itertools.count()
        self._lock = asyncio.Lock()
        self._first = True

    async def apply(self, targets: dict[HostAddress, ServicePort]) -> None:
        """Publish new addresses, and withdraw the others."""
        async with self._lock:
            if self._first:  # an earlier process may have published others
                self._first = False
                self._withdraw("only", targets)
            if withdrawn := [p for p in self._servers if p not in targets]:
                for address in withdrawn:
                    self._servers.pop(address).close()
                self._withdraw("withdraw", withdrawn)
            self._conflicts = {p: t for p, t in self._conflicts.items() if targets.get(p) == t}
            self._targets = targets
            for address in [p for p in targets if p not in self._servers and p not in self._conflicts]:
                try:
                    sock = await self._socket(address)
                except OSError as error:
                    self._conflicts[address] = targets[address]
                    await self._on_conflict(targets[address], address, str(error))
                    continue
                if address.protocol == "UDP":
                    self._servers[address] = DatagramRelay(sock, functools.partial(self._endpoint, address))
                else:
                    self._servers[address] = await asyncio.start_server(self._acceptor(address), sock=sock)

    def _withdraw(self, how: str, addresses: Iterable[HostAddress]) -> None:
        self._channel.send(json.dumps({how: [*addresses]}).encode())

    async def _socket(self, address: HostAddress) -> socket.socket:
        """A socket of the host that is bound to an address, and listens if it is of TCP. Raises OSError."""
        self._channel.send(json.dumps(address._asdict()).encode())
        async with asyncio.timeout(_CONNECT_S):
            while True:
                answer, fds = await self._answer()
                if (answer.get("address"), answer.get("port"), answer.get("protocol")) == address:
                    break
                for fd in fds:  # what an earlier process of the node asked for, and did not live to receive
                    os.close(fd)
        if not fds:
            raise OSError(str(answer.get("error")))
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        return sock

    def _endpoint(self, address: HostAddress) -> tuple[str, int] | None:
        """The next ready endpoint of an address; None if there is none."""
        ready = self._endpoints(self._targets[address]) if address in self._targets else []
        return ready[next(self._round_robin) % len(ready)] if ready else None

    async def _answer(self) -> tuple[Object, list[int]]:
        """The launcher's next answer. Raises OSError if there is no launcher any more."""
        await descriptors.readable(self._channel.fileno())
        data, fds, _, _ = socket.recv_fds(self._channel, 4096, 1)
        if not data:
            raise OSError("the launcher has exited")
        return json.loads(data), list(fds)

    def _acceptor(
        self, address: HostAddress
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other = None
            try:
                endpoint = self._endpoint(address)
                if endpoint is not None:
                    connection = asyncio.open_connection(*endpoint)
                    other_reader, other = await asyncio.wait_for(connection, _CONNECT_S)
                    await asyncio.gather(egress.pump(reader, other), egress.pump(other_reader, writer))
            except (OSError, TimeoutError):
                pass  # close the caller's connection
            finally:
                for each in (writer, other):
                    if each is not None:
                        with contextlib.suppress(OSError):
                            each.transport.abort()

        return accept
