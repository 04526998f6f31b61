"""nftables over raw netlink: atomic batches, and the kernel's error messages. Must not know what rules are for."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

_SUBSYSTEM = 10
_REQUEST, _ACK, _CREATE, _APPEND = 1, 4, 0x400, 0x800
NEWTABLE, DELTABLE, NEWCHAIN, DELCHAIN, NEWRULE, DELRULE, NEWSET, DELSET, NEWSETELEM, DELSETELEM = (
    0,
    2,
    3,
    5,
    6,
    8,
    9,
    11,
    12,
    14,
)
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
EQ, NEQ = 0, 1
MAP, CONCAT = 8, 128
ACCEPT, RETURN, JUMP, GOTO = 1, -5, -3, -4
T_VERDICT, T_INTEGER, T_ADDRESS, T_PROTOCOL, T_PORT = 0xFFFFFF00, 4, 7, 12, 13
_META = {"mark": 3, "iif": 4, "oif": 5, "skuid": 10, "l4proto": 16}


def concat_type(*kinds: int) -> int:
    value = 0
    for kind in kinds:
        value = value << 6 | kind
    return value


def attr(kind: int, value: Any) -> bytes:
    """One netlink attribute: a list nests, text ends with a zero, numbers are big-endian."""
    if isinstance(value, list):
        value, kind = b"".join(value), kind | 0x8000
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack(">I", value & 0xFFFFFFFF)
    raw: bytes = value
    return struct.pack("=HH", len(raw) + 4, kind) + raw + b"\0" * (-len(raw) % 4)


def verdict_data(code: int, chain: str | None = None) -> list[bytes]:
    return [attr(2, [attr(1, code)] + ([attr(2, chain)] if chain else []))]


def expression(name: str, *attributes: bytes) -> bytes:
    return attr(1, [attr(1, name), attr(2, list(attributes))])


def meta(key: str, register: int = 1) -> bytes:
    return expression("meta", attr(1, register), attr(2, _META[key]))


def payload(base: int, offset: int, length: int, register: int = 1) -> bytes:
    return expression("payload", attr(1, register), attr(2, base), attr(3, offset), attr(4, length))


def compare(value: bytes, operator: int = EQ) -> bytes:
    return expression("cmp", attr(1, 1), attr(2, operator), attr(3, [attr(1, value)]))


def immediate(value: bytes, register: int = 1) -> bytes:
    return expression("immediate", attr(1, register), attr(2, [attr(1, value)]))


def verdict(code: int, chain: str | None = None) -> bytes:
    return expression("immediate", attr(1, 0), attr(2, verdict_data(code, chain)))


def numgen(modulus: int, register: int = 1) -> bytes:
    """A random number below the modulus."""
    return expression("numgen", attr(1, register), attr(2, modulus), attr(3, 1))


def hash_source(modulus: int, register: int = 1) -> bytes:
    """A number below the modulus that depends on the source address."""
    hashed = expression("hash", attr(1, 2), attr(2, register), attr(3, 4), attr(4, modulus), attr(5, 0x5EED))
    return payload(1, 12, 4, 2) + hashed


def lookup(name: str, source: int = 1, destination: int | None = None) -> bytes:
    extra = [attr(3, destination)] if destination is not None else []
    return expression("lookup", attr(1, name), attr(2, source), *extra)


def dnat(address_register: int, port_register: int) -> bytes:
    return expression("nat", attr(1, 1), attr(2, 2), attr(3, address_register), attr(5, port_register))


def masquerade() -> bytes:
    return expression("masq")


def redirect(port: int) -> bytes:
    return immediate(struct.pack(">H", port)) + expression("redir", attr(1, 1), attr(2, 1))


def reject() -> bytes:
    """ICMP port unreachable: the peer sees a refused connection at once."""
    return expression("reject", attr(1, 0), attr(2, b"\x03"))


def tcp() -> bytes:
    return meta("l4proto") + compare(b"\x06")


def udp() -> bytes:
    return meta("l4proto") + compare(b"\x11")


def port(number: int, operator: int = EQ) -> bytes:
    """Destination port."""
    return payload(2, 2, 2) + compare(struct.pack(">H", number), operator)


def _address(offset: int, cidr: str, operator: int) -> bytes:
    network = ipaddress.ip_network(cidr, strict=False)
    mask = b""
    if network.prefixlen < 32:
        zero = [attr(1, bytes(4))]
        mask = expression(
            "bitwise", attr(1, 1), attr(2, 1), attr(3, 4), attr(4, [attr(1, network.netmask.packed)]), attr(5, zero)
        )
    return payload(1, offset, 4) + mask + compare(network.network_address.packed, operator)


def destination(cidr: str, operator: int = EQ) -> bytes:
    return _address(16, cidr, operator)


def source(cidr: str, operator: int = EQ) -> bytes:
    return _address(12, cidr, operator)


def mark(number: int, operator: int = EQ) -> bytes:
    return meta("mark") + compare(struct.pack("=I", number), operator)


def user(number: int, operator: int = EQ) -> bytes:
    """Packets of the processes of a user."""
    return meta("skuid") + compare(struct.pack("=I", number), operator)


def out_loopback() -> bytes:
    return meta("oif") + compare(struct.pack("=I", 1))


def in_loopback() -> bytes:
    return meta("iif") + compare(struct.pack("=I", 1))


class Batch:
    """One transaction."""

    def __init__(self, family: int = 2) -> None:
        self.messages: list[tuple[int, int, bytes]] = []
        self.family, self._set = family, 0

    def _add(self, kind: int, flags: int, attributes: Sequence[bytes]) -> Batch:
        self.messages.append((kind, flags, b"".join(attributes)))
        return self

    def table(self, name: str) -> Batch:
        return self._add(NEWTABLE, _CREATE, [attr(1, name)])

    def fresh_table(self, name: str) -> Batch:
        """Create an empty table; deletes an existing one first."""
        self.table(name)
        self._add(DELTABLE, 0, [attr(1, name)])
        return self.table(name)

    def chain(self, table: str, name: str, hook: str = "", priority: int = -100, kind: str = "nat") -> Batch:
        attributes = [attr(1, table), attr(3, name)]
        if hook:
            attributes += [attr(4, [attr(1, _HOOKS[hook]), attr(2, priority)]), attr(5, ACCEPT), attr(7, kind)]
        return self._add(NEWCHAIN, _CREATE, attributes)

    def drop_chain(self, table: str, name: str) -> Batch:
        self._add(DELRULE, 0, [attr(1, table), attr(2, name)])
        return self._add(DELCHAIN, 0, [attr(1, table), attr(3, name)])

    def rule(self, table: str, chain: str, *expressions: bytes) -> Batch:
        return self._add(NEWRULE, _CREATE | _APPEND, [attr(1, table), attr(2, chain), attr(4, list(expressions))])

    def named_set(
        self,
        table: str,
        name: str,
        key: tuple[int, int],
        data: tuple[int, int] | None = None,
        fields: Sequence[int] = (),
    ) -> Batch:
        """A set, or with `data` a map. `key` and `data` are (type, length)."""
        self._set += 1
        flags = (MAP if data else 0) | (CONCAT if fields else 0)
        attributes = [attr(1, table), attr(2, name), attr(3, flags), attr(4, key[0]), attr(5, key[1])]
        if data is not None:
            attributes.append(attr(6, data[0]))
            if data[0] != T_VERDICT:
                attributes.append(attr(7, data[1]))
        if fields:
            attributes.append(attr(9, [attr(2, [attr(1, [attr(1, f)]) for f in fields])]))
        return self._add(NEWSET, _CREATE, [*attributes, attr(10, self._set)])

    def drop_set(self, table: str, name: str) -> Batch:
        return self._add(DELSET, 0, [attr(1, table), attr(2, name)])

    def elements(self, table: str, name: str, items: Sequence[tuple[bytes, Any]], delete: bool = False) -> Batch:
        """Elements as (key, data or None); data is bytes or a verdict."""
        for at in range(0, len(items), 500):
            entries = []
            for key, data in items[at : at + 500]:
                parts = [attr(1, [attr(1, key)])]
                if data is not None and not delete:
                    parts.append(attr(2, data if isinstance(data, list) else [attr(1, data)]))
                entries.append(attr(1, parts))
            kind, flags = (DELSETELEM, 0) if delete else (NEWSETELEM, _CREATE)
            self._add(kind, flags, [attr(1, table), attr(2, name), attr(3, entries)])
        return self


class NftError(OSError):
    """The kernel rejected a batch; none of it was applied."""


class Nftables:
    """A netlink socket for batches; it belongs to the network namespace in which it was created."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        for option in (10, 11):  # NETLINK_CAP_ACK, NETLINK_EXT_ACK
            self._socket.setsockopt(270, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.settimeout(10)
        self._sequence = 1

    def close(self) -> None:
        self._socket.close()

    def _message(self, kind: int, flags: int, body: bytes, family: int, resource: int = 0) -> bytes:
        self._sequence += 1
        packed = struct.pack(">BBH", family, 0, resource) + body
        return struct.pack("=IHHII", len(packed) + 16, kind, flags | _REQUEST, self._sequence, 0) + packed

    def commit(self, batch: Batch) -> None:
        """Apply a batch atomically. Raises NftError."""
        if not batch.messages:
            return
        out = [self._message(0x10, 0, b"", 0, _SUBSYSTEM)]
        first = self._sequence + 1
        out += [self._message(_SUBSYSTEM << 8 | k, f | _ACK, body, batch.family) for k, f, body in batch.messages]
        last = self._sequence
        out.append(self._message(0x11, 0, b"", 0, _SUBSYSTEM))
        self._socket.send(b"".join(out))
        errors: list[tuple[int, int, str]] = []
        seen = 0
        while seen < len(batch.messages):
            buffer = self._socket.recv(1 << 16)
            while buffer:
                length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", buffer)
                if kind == 2:
                    (error,) = struct.unpack_from("=i", buffer, 16)
                    if error:
                        errors.append((-error, sequence - first, _text(buffer, length) if flags & 0x200 else ""))
                        if not first <= sequence <= last:
                            seen = len(batch.messages)
                    if first <= sequence <= last:
                        seen += 1
                buffer = buffer[(length + 3) & ~3 :]
        if errors:
            number, index, text = errors[0]
            raise NftError(number, f"nftables message {index}: {os.strerror(number)} {text}".strip())


def _text(buffer: bytes, length: int) -> str:
    at = 36
    while at + 4 <= length:
        size, kind = struct.unpack_from("=HH", buffer, at)
        if size < 4:
            break
        if kind & 0x3FFF == 1:
            return buffer[at + 4 : at + size - 1].decode(errors="replace")
        at += (size + 3) & ~3
    return ""
