"""Merging one message into another as EnvoyFilter users expect: lists are appended, maps joined, messages merged, and an extension's
configuration is merged inside when both are of one type. Pure.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sailcloth.envoy.protobuf import pack


def merge(into: Message, value: Message, replace_lists: bool = False) -> None:
    """Merge `value` into a message of the same type. With `replace_lists` a list that is given takes the old one's place."""
    for field, given in value.ListFields():
        name = field.name
        if field.is_repeated:
            if _is_map(field):
                _merge_map(getattr(into, name), given)
                continue
            if replace_lists:
                into.ClearField(name)
            getattr(into, name).extend(given)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            old = getattr(into, name)
            if isinstance(given, any_pb2.Any):
                old.CopyFrom(_merged_any(old, given, replace_lists))
            elif given.DESCRIPTOR.full_name.startswith("google.protobuf."):
                old.CopyFrom(given)  # a duration or a wrapped number is one value
            else:
                old.SetInParent()
                merge(old, given, replace_lists)
        else:
            setattr(into, name, given)


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _merge_map(into: Any, given: Any) -> None:
    for key, value in given.items():
        if not isinstance(value, Message):
            into[key] = value
        elif isinstance(value, any_pb2.Any):
            into[key].CopyFrom(_merged_any(into[key], value, False))
        else:
            merge(into[key], value)


def _merged_any(old: any_pb2.Any, given: any_pb2.Any, replace_lists: bool) -> any_pb2.Any:
    if old.type_url != given.type_url or not old.type_url:
        return given
    before, change = unpack(old), unpack(given)
    merge(before, change, replace_lists)
    return pack(before)


def unpack(packed: any_pb2.Any) -> Message:
    """The message in an Any. Raises KeyError for an unknown type."""
    found = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    made: Message = message_factory.GetMessageClass(found)()
    made.ParseFromString(packed.value)
    return made
