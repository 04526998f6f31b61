"""Links, addresses and routes over rtnetlink: the few messages that a pod network needs.

Not a library, because importing one adds about 170 ms to every start (decision 0003).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

_REQUEST, _ACK, _CREATE, _EXCL = 1, 4, 0x400, 0x200
_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
TABLE_MAIN, TABLE_LOCAL = 254, 255
_ONLINK = 4


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


class RouteSocket:
    """One netlink socket; it belongs to the network namespace in which it was created."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)
        self._sequence = 0

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def _send(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self._sequence += 1
        head = struct.pack("=IHHII", len(body) + 16, kind, flags | _REQUEST | _ACK, self._sequence, 0)
        self._socket.send(head + body)
        answer = self._socket.recv(65536)
        (error,) = struct.unpack_from("=i", answer, 16)
        if error:
            raise OSError(-error, f"{what}: {os.strerror(-error)}")

    def veth(self, name: str, peer: str, netns_fd: int) -> None:
        """Create a veth pair with the peer in another network namespace."""
        link = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        other = (
            link
            + _attribute(_IFLA_IFNAME, peer.encode() + b"\0")
            + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", netns_fd))
        )
        info = _attribute(1, b"veth") + _attribute(2, _attribute(1, other))
        body = link + _attribute(_IFLA_IFNAME, name.encode() + b"\0") + _attribute(_IFLA_LINKINFO, info)
        self._send(_NEWLINK, _CREATE | _EXCL, body, f"veth {name}")

    def up(self, index: int) -> None:
        self._send(_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, index, 1, 1), f"link {index} up")

    def delete(self, index: int) -> None:
        self._send(_DELLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0), f"link {index} delete")

    def address(self, index: int, address: str, prefix: int = 32) -> None:
        raw = socket.inet_aton(address)
        body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, 0, index)
        body += _attribute(1, raw) + _attribute(2, raw)
        self._send(_NEWADDR, _CREATE | _EXCL, body, f"address {address}")

    def route(
        self,
        destination: str,
        prefix: int,
        index: int,
        gateway: str = "",
        scope: int = SCOPE_UNIVERSE,
        onlink: bool = False,
        source: str = "",
        table: int = TABLE_MAIN,
    ) -> None:
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, table, 3, scope, 1, _ONLINK if onlink else 0)
        if prefix:
            body += _attribute(_RTA_DST, socket.inet_aton(destination))
        if gateway:
            body += _attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
        if source:
            body += _attribute(_RTA_PREFSRC, socket.inet_aton(source))
        body += _attribute(_RTA_OIF, struct.pack("=I", index))
        self._send(_NEWROUTE, _CREATE, body, f"route {destination}/{prefix}")
