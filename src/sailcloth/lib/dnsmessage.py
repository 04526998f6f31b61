"""Encodes and decodes DNS messages, as far as a server of A and AAAA records needs. Source: RFC 1035, RFC 6891.

Must not decide what to answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

A, CNAME, AAAA, OPT, ANY = 1, 5, 28, 41, 255
OK, SERVER_FAILURE, NAME_ERROR = 0, 2, 3
PLAIN_SIZE = 512  # bytes; limit of a UDP response without EDNS
_MAX_SIZE = 4096
_AT_QUESTION = b"\xc0\x0c"  # a pointer to the question's name


def encode_name(name: str) -> bytes:
    """A name in wire format, lower case. Raises ValueError for labels over 63 bytes."""
    wire = bytearray()
    for label in name.lower().rstrip(".").split("."):
        raw = label.encode()
        if len(raw) > 63:
            raise ValueError(f"{name!r}: a label has at most 63 bytes")
        if raw:
            wire += bytes([len(raw)]) + raw
    return bytes(wire + b"\0")


def decode_name(wire: bytes) -> str:
    """A name as text, lower case, from its wire format without pointers."""
    labels, at = [], 0
    while wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]].decode(errors="replace").lower())
        at += wire[at] + 1
    return ".".join(labels)


def question(data: bytes) -> bytes | None:
    """The raw question section of a query (name, type, class); None if the message is not a query."""
    if len(data) < 17 or data[2] & 0x80:
        return None
    at = 12
    try:
        while data[at]:
            at += data[at] + 1
    except IndexError:
        return None
    return data[12 : at + 5] if at + 5 <= len(data) else None


@dataclass(frozen=True, slots=True)
class Query:
    """A query with one question."""

    ident: bytes
    flags: int
    question: bytes
    name: str
    kind: int
    size: int = PLAIN_SIZE  # the largest UDP response that the client accepts, in bytes
    extended: bool = False  # whether it has an EDNS record; then the response has one, too

    @classmethod
    def parse(cls, data: bytes) -> Query | None:
        """Parse a query; None unless it has exactly one question, of class IN, without pointers."""
        question_section = question(data)
        if question_section is None or data[4:6] != b"\0\1" or question_section[-2:] != b"\0\1":
            return None
        name = question_section[:-4]
        if len(name) > 255 or _has_pointer(name):
            return None
        size = _extension(data, 12 + len(question_section))
        (kind,) = struct.unpack(">H", question_section[-4:-2])
        limit = min(max(size or PLAIN_SIZE, PLAIN_SIZE), _MAX_SIZE)
        return cls(data[:2], data[2], question_section, decode_name(name), kind, limit, size is not None)

    def answer(self, addresses: Iterable[bytes], ttl: int, alias: str = "") -> bytes:
        """A response with addresses (4 or 16 bytes each), TTL in seconds. With `alias`, a CNAME to that name comes first."""
        head, name_pointer = b"", _AT_QUESTION
        if alias:
            target = encode_name(alias)
            head = _AT_QUESTION + struct.pack(">HHIH", CNAME, 1, ttl, len(target)) + target
            name_pointer = struct.pack(">H", 0xC000 | 12 + len(self.question) + 12)
        records = [
            name_pointer + struct.pack(">HHIH", A if len(a) == 4 else AAAA, 1, ttl, len(a)) + a for a in addresses
        ]
        return self._message(OK, len(records) + bool(alias), head + b"".join(records))

    def failure(self, code: int) -> bytes:
        """A response with an error code and no answers."""
        return self._message(code, 0, b"")

    def fitted(self, message: bytes) -> bytes:
        """The response for UDP: if it is too long, a truncated one, so that the client retries over TCP."""
        if len(message) <= self.size:
            return message
        short = self._message(OK, 0, b"")
        return short[:2] + bytes([short[2] | 2]) + short[3:]

    def _message(self, code: int, count: int, records: bytes) -> bytes:
        flags = bytes(
            [0x84 | self.flags & 0x79, 0x80 | code]
        )  # authoritative; opcode and recursion flags as in the query
        counts = struct.pack(">HHHH", 1, count, 0, int(self.extended))
        additional = b"\0" + struct.pack(">HHIH", OPT, 1232, 0, 0) if self.extended else b""
        return self.ident + flags + counts + self.question + records + additional


def query(name: str, kind: int) -> bytes:
    """A recursive query for records of a name, with id 0. Raises ValueError as `encode_name` does."""
    return struct.pack(">HHHHHH", 0, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">HH", kind, 1)


def addresses(message: bytes, kind: int) -> tuple[int, list[bytes]]:
    """(code, addresses of a kind in the answer section, of any name) of a response; SERVER_FAILURE for a malformed one."""
    values = []
    try:
        code, (questions, answers) = message[3] & 15, struct.unpack(">HH", message[4:8])
        at = 12
        for _ in range(questions):
            at = _after_name(message, at) + 4
        for _ in range(answers):
            at = _after_name(message, at)
            record, _, _, length = struct.unpack(">HHIH", message[at : at + 10])
            data = message[at + 10 : at + 10 + length]
            if record == kind and len(data) == (4 if kind == A else 16):
                values.append(data)
            at += 10 + length
    except (IndexError, struct.error):
        return SERVER_FAILURE, []
    return code, values


def _after_name(message: bytes, at: int) -> int:
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += message[at] + 1
    return at + 1


def _has_pointer(name: bytes) -> bool:
    at = 0
    while name[at]:
        if name[at] > 63:
            return True
        at += name[at] + 1
    return False


def _extension(data: bytes, at: int) -> int | None:
    """The UDP size in the EDNS record right after the question; None without one."""
    if (
        data[6:10] == b"\0\0\0\0"
        and data[10:12] != b"\0\0"
        and data[at : at + 3] == b"\0\0\x29"
        and len(data) >= at + 11
    ):
        return int(struct.unpack(">H", data[at + 3 : at + 5])[0])
    return None
