"""Objects as Kubernetes' protobuf and back, by a table of messages (see `tools/extract_protobuf.py`).

An unknown field fails closed, because dropping it would change what the user asked for. What protobuf cannot say, such as an
empty list, is left out, as Go clients leave it out. Custom resources have no protobuf.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import orjson

from ..unstructured import Unstructured
from . import protobuf_wire
from .protobuf_wire import BYTES, FIXED64, VARINT, Raw

_MAGIC = b"k8s\0"
_DEPTH = 100  # messages within messages
_DEEP = "the object is nested too deeply for protobuf"
_FIELDS = 300_000  # of one body
_WIRE = {"i": VARINT, "b": VARINT, "d": FIXED64}


class Unsupported(ValueError):
    """A kind or field that the table does not have."""


@dataclass(frozen=True, slots=True)
class _Field:
    """`shape`: one value "", a list "[]" or a map "{}" of `type`, which is s string, i integer, b bool, d double, y bytes, the
    name of a message after `msg:`, or a name in `_READERS`. Without a `name`, the message's fields stand in its parent."""

    number: int
    name: str
    shape: str
    type: str
    keeps: bool  # a zero means something; an empty message always does, as in Go's JSON

    tag: bytes = b""


@dataclass(frozen=True, slots=True)
class _Message:
    numbered: dict[int, _Field]
    named: dict[str, _Field]
    inline: tuple[_Field, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    kinds: dict[str, str]
    messages: dict[str, _Message]


@cache
def _table() -> _Table:
    data = resources.files("sailcloth.local.apiserver").joinpath("data/protobuf.json.gz").read_bytes()
    decoded = orjson.loads(gzip.decompress(data))
    return _Table(decoded["kinds"], {name: _read(message) for name, message in decoded["messages"].items()})


def _read(message: dict[str, list[Any]]) -> _Message:
    fields = []
    for number, (name, type_, keeps) in message.items():
        shape = type_[:2] if type_[:2] in ("[]", "{}") else ""
        kind = type_.removeprefix(shape)
        tag = protobuf_wire.tag(int(number), BYTES if shape == "{}" else _WIRE.get(kind, BYTES))
        fields.append(_Field(int(number), name, shape, kind, keeps, tag))
    inline = tuple(f for f in fields if not f.name)
    return _Message({f.number: f for f in fields}, {f.name: f for f in fields if f.name}, inline)


def supports(version: str, kind: str) -> bool:
    """Whether objects of this kind have a protobuf form."""
    return f"{version} {kind}" in _table().kinds


# -- reading ------------------------------------------------------------------------------------


def decode(body: bytes) -> Unstructured:
    """The object in a body (magic, then runtime.Unknown). Raises Unsupported, or ValueError for one that is broken."""
    if body[:4] != _MAGIC:
        raise ValueError("the body does not start with the protobuf magic")
    envelope = _parts(body[4:])
    head = _parts(_bytes(envelope.get(1, b"")))
    version, kind = _text(head.get(1, b"")), _text(head.get(2, b""))
    kinds = _table().kinds
    full = kinds.get(kind) or kinds.get(f"{version} {kind}")
    if full is None or envelope.get(3):
        raise Unsupported(f"protobuf bodies of kind {kind} ({version}) are not supported; send JSON")
    return {"apiVersion": version, "kind": kind, **_Reader().message(full, _bytes(envelope.get(2, b"")), _DEPTH)}


class _Reader:
    """Reads one body."""

    def __init__(self) -> None:
        self._left = _FIELDS

    def message(self, full: str, data: bytes, depth: int) -> Unstructured:
        if depth < 0:
            raise ValueError(f"the protobuf body has more than {_DEPTH} messages within each other")
        known, out = _table().messages[full].numbered, dict[str, Any]()
        for number, wire, raw in protobuf_wire.fields(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"the protobuf body has more than {_FIELDS} fields")
            field = known.get(number)
            if field is None:
                if raw in (b"", 0):  # clients of other versions send what they do not use, too
                    continue
                raise Unsupported(f"protobuf field {number} of {full.rpartition('.')[2]} is not supported; send JSON")
            if field.shape == "{}":
                entry = _parts(_bytes(raw))
                value = entry.get(2, b"" if field.type not in _WIRE else 0)
                out.setdefault(field.name, {})[_text(entry.get(1, b""))] = self.value(field.type, value, depth)
            elif field.shape == "[]":
                many = protobuf_wire.numbers(raw) if wire == BYTES and field.type == "i" else [raw]  # type: ignore[arg-type]
                out.setdefault(field.name, []).extend(self.value(field.type, one, depth) for one in many)
            elif not field.name:
                out.update(self.value(field.type, raw, depth))
            else:
                value = self.value(field.type, raw, depth)
                if value is not None and (field.keeps or value not in ("", 0)):
                    out[field.name] = value
        return out

    def value(self, kind: str, raw: Raw, depth: int) -> Any:
        """A value in its JSON form; None for none. Raises ValueError if it is not of the kind."""
        if kind in _WIRE:
            if isinstance(raw, bytes) or isinstance(raw, float) != (kind == "d"):
                raise ValueError("a protobuf field has the wrong wire type")
            return bool(raw) if kind == "b" else raw if kind == "d" or raw < 1 << 63 else int(raw) - (1 << 64)
        data = _bytes(raw)
        if kind == "s":
            return data.decode()
        if kind.startswith("msg:"):
            return self.message(kind[4:], data, depth - 1)
        if kind == "y":
            return base64.b64encode(data).decode()
        if kind == "items:s":
            return [_bytes(one).decode() for _, _, one in protobuf_wire.fields(data)]
        if kind.startswith("Or"):
            return self._either(kind, data, depth)
        parts = _parts(data)
        if kind in ("Time", "MicroTime"):
            return _time(_number(parts.get(1, 0)), _number(parts.get(2, 0)) // 1000 if kind == "MicroTime" else None)
        if kind == "IntOrString":
            return _text(parts.get(3, b"")) if parts.get(1) else self.value("i", parts.get(2, 0), depth)
        if kind == "Quantity":
            return _text(parts.get(1, b"")) or "0"
        raw = parts.get(1, b"")  # FieldsV1 and Raw are JSON
        return orjson.loads(_bytes(raw)) if raw else None

    def _either(self, kind: str, data: bytes, depth: int) -> Any:
        """A JSON schema, or what may stand in its place: a bool, schemas, or words."""
        schema = "msg:apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaProps"
        parts: dict[int, list[Raw]] = {}
        for number, _, raw in protobuf_wire.fields(data):
            parts.setdefault(number, []).append(raw)
        one, many = (2, 1) if kind == "OrBool" else (1, 2)
        if one in parts:
            return self.value(schema, parts[one][-1], depth)
        if kind == "OrBool":
            return self.value("b", parts.get(many, [0])[-1], depth)
        return [self.value(schema if kind == "OrArray" else "s", raw, depth) for raw in parts.get(many, ())]


def _parts(data: bytes) -> dict[int, Raw]:
    return {number: raw for number, _, raw in protobuf_wire.fields(data)}


def _bytes(raw: Raw) -> bytes:
    if not isinstance(raw, bytes):
        raise ValueError("a protobuf field has the wrong wire type")
    return raw


def _text(raw: Raw) -> str:
    return _bytes(raw).decode()


def _number(raw: Raw) -> int:
    if not isinstance(raw, int):
        raise ValueError("a protobuf field has the wrong wire type")
    return raw


def _time(seconds: int, micros: int | None) -> str | None:
    """As Go writes it; None for its zero time. Raises ValueError for one that is out of reach."""
    if not seconds and not micros:
        return None
    try:
        when = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds - (seconds >> 63 << 64), microseconds=micros or 0)
    except OverflowError:
        raise ValueError("a protobuf time is out of range") from None
    return f"{when.isoformat(timespec='seconds' if micros is None else 'microseconds')}Z"


# -- writing ------------------------------------------------------------------------------------


def encode(obj: Unstructured) -> bytes:
    """A body. Raises Unsupported for kinds without protobuf, ValueError for values that are not of their type."""
    try:
        return _body(obj)
    except RecursionError:
        raise ValueError(_DEEP) from None


def _body(obj: Unstructured) -> bytes:
    version, kind = obj["apiVersion"], obj["kind"]
    full = _table().kinds.get(f"{version} {kind}")
    if full is None:
        raise Unsupported(f"objects of kind {kind} ({version}) have no protobuf form")
    return _enveloped(version, kind, _message(full, obj))


def encode_item(obj: Unstructured) -> bytes:
    """An object as a list holds it."""
    try:
        return protobuf_wire.field(2, _message(_table().kinds[f"{obj['apiVersion']} {obj['kind']}"], obj))
    except RecursionError:
        raise ValueError(_DEEP) from None


def encode_list(head: Unstructured, items: list[bytes]) -> bytes:
    """A list, from what it has besides its items, and these."""
    metadata = protobuf_wire.field(1, _message(_table().kinds["lists"], head["metadata"]))
    return _enveloped(head["apiVersion"], head["kind"], metadata + b"".join(items))


def _enveloped(version: str, kind: str, data: bytes) -> bytes:
    writer = protobuf_wire.field
    head = writer(1, version.encode()) + writer(2, kind.encode())
    # Without the empty contentEncoding and contentType, Go's length of the message would differ from ours; both are read.
    return _MAGIC + writer(1, head) + writer(2, data) + writer(3, b"") + writer(4, b"")


def encode_watch_event(kind: str, obj: Unstructured) -> bytes:
    """An event of a watch: four bytes of length, then a WatchEvent with the object as a body."""
    event = protobuf_wire.field(1, kind.encode()) + protobuf_wire.field(2, protobuf_wire.field(1, encode(obj)))
    return len(event).to_bytes(4, "big") + event


def _message(full: str, obj: Unstructured) -> bytes:
    message, out = _table().messages[full], []
    for name, value in obj.items():
        field = message.named.get(name)
        if field is not None and value is not None:
            out.append((field.number, _field(field, value)))
    out += [(field.number, _field(field, obj)) for field in message.inline]
    out.sort()
    return b"".join([data for _, data in out])


def _field(field: _Field, value: Any) -> bytes:
    if field.shape == "[]":
        return b"".join([field.tag + protobuf_wire.length_delimited(_raw(field.type, one)) for one in value])
    if field.shape == "{}":
        entries = []
        for key in sorted(value):
            entry = protobuf_wire.field(1, key.encode()) + protobuf_wire.field(2, _raw(field.type, value[key]))
            entries.append(field.tag + protobuf_wire.length_delimited(entry))
        return b"".join(entries)
    return field.tag + protobuf_wire.length_delimited(_raw(field.type, value))


def _raw(kind: str, value: Any) -> Raw:
    """A JSON value as protobuf has it. Raises ValueError."""
    field = protobuf_wire.field
    try:
        if kind == "s":
            return str(value).encode() if not isinstance(value, str) else value.encode()
        if kind.startswith("msg:"):
            return _message(kind[4:], value or {})
        if kind in ("i", "b"):
            return int(value)
        if kind == "d":
            return float(value)
        if kind == "y":
            return base64.b64decode(value)
        if kind in ("Time", "MicroTime"):
            when = dt.datetime.fromisoformat(value)
            seconds = int(when.replace(microsecond=0).timestamp())
            return field(1, seconds) + field(2, when.microsecond * 1000 if kind == "MicroTime" else 0)
        if kind == "IntOrString":
            text = isinstance(value, str)
            return field(1, int(text)) + field(2, 0 if text else value) + field(3, value.encode() if text else b"")
        if kind == "Quantity":
            return field(1, str(value).encode())
        if kind == "items:s":
            return b"".join(field(1, one.encode()) for one in value)
        schema = "msg:apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaProps"
        if kind == "OrBool":
            return field(1, int(value)) if isinstance(value, bool) else field(1, 1) + field(2, _raw(schema, value))
        if kind in ("OrArray", "OrStrings"):
            inner = schema if kind == "OrArray" else "s"
            many = isinstance(value, list)
            return b"".join(field(2, _raw(inner, v)) for v in value) if many else field(1, _raw(schema, value))
        return field(1, orjson.dumps(value))  # FieldsV1 and Raw are JSON
    except (AttributeError, TypeError, OverflowError) as error:
        raise ValueError(f"{value!r:.100} is not what protobuf's {kind.rpartition('.')[2]} holds: {error}") from None
