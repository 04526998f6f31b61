"""Conversions to protobuf: durations, Any, deterministic bytes. Must not know Istio's features."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message


def duration(milliseconds: float) -> duration_pb2.Duration:
    """A protobuf duration."""
    nanos = round(milliseconds * 1_000_000)
    return duration_pb2.Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def pack(message: Message) -> any_pb2.Any:
    """A message in an Any, with deterministic bytes."""
    return any_pb2.Any(
        type_url="type.googleapis.com/" + message.DESCRIPTOR.full_name,
        value=message.SerializeToString(deterministic=True),
    )


def encode(message: Message) -> bytes:
    """Deterministic bytes: equal messages, equal bytes."""
    return bytes(message.SerializeToString(deterministic=True))


def typed(name: str, message: Message) -> dict[str, Any]:
    """The name and typed_config of an extension, for keyword arguments."""
    return {"name": name, "typed_config": pack(message)}
