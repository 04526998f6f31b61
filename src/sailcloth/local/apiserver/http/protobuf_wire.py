"""The wire format of protobuf: tags, numbers and lengths, read with bounds and written. Knows no message."""

from __future__ import annotations

import struct
from collections.abc import Iterator

Raw = int | float | bytes
VARINT, FIXED64, BYTES = 0, 1, 2


def fields(data: bytes) -> Iterator[tuple[int, int, Raw]]:
    """(number, wire type, value) of every field. Raises ValueError for what is cut off or not in use since proto2."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("a protobuf field is cut off")
            yield tag >> 3, wire, data[at : at + length]
            at += length
        elif wire == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, wire, value
        elif wire == FIXED64:
            if at + 8 > end:
                raise ValueError("a protobuf number is cut off")
            yield tag >> 3, wire, struct.unpack_from("<d", data, at)[0]
            at += 8
        else:
            raise ValueError(f"unexpected protobuf wire type {wire}")


def numbers(data: bytes) -> Iterator[int]:
    """The numbers of a packed field."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a protobuf number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def varint(value: int) -> bytes:
    """A number, negative ones as 64 bits."""
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def field(number: int, value: Raw) -> bytes:
    """One field, by the type of its value."""
    wire = BYTES if isinstance(value, bytes) else FIXED64 if isinstance(value, float) else VARINT
    return tag(number, wire) + length_delimited(value)


def length_delimited(value: Raw) -> bytes:
    """A value without its tag."""
    if isinstance(value, bytes):
        return varint(len(value)) + value
    return struct.pack("<d", value) if isinstance(value, float) else varint(value)
