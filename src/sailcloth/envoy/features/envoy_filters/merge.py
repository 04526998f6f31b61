"""Merges one message into another with EnvoyFilter's rules: appends lists, joins maps, merges messages, and merges the content of
an Any if both have the same type. Pure.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sailcloth.envoy.protobuf import pack


def merge(into: Message, value: Message, replace_lists: bool = False) -> None:
    """Merge `value` into a message of the same type. `replace_lists`: a list in `value` replaces the old one."""
    for field, new in value.ListFields():
        name = field.name
        if field.is_repeated:
            if _is_map(field):
                _merge_map(getattr(into, name), new)
                continue
            if replace_lists:
                into.ClearField(name)
            getattr(into, name).extend(new)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            old = getattr(into, name)
            if isinstance(new, any_pb2.Any):
                old.CopyFrom(_merged_any(old, new, replace_lists))
            elif new.DESCRIPTOR.full_name.startswith("google.protobuf."):
                old.CopyFrom(new)  # replace durations and wrapped numbers as a whole
            else:
                old.SetInParent()
                merge(old, new, replace_lists)
        else:
            setattr(into, name, new)


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _merge_map(into: Any, new: Any) -> None:
    for key, value in new.items():
        if not isinstance(value, Message):
            into[key] = value
        elif isinstance(value, any_pb2.Any):
            into[key].CopyFrom(_merged_any(into[key], value, False))
        else:
            merge(into[key], value)


def _merged_any(old: any_pb2.Any, new: any_pb2.Any, replace_lists: bool) -> any_pb2.Any:
    if old.type_url != new.type_url or not old.type_url:
        return new
    merged, change = unpack(old), unpack(new)
    merge(merged, change, replace_lists)
    return pack(merged)


def unpack(packed: any_pb2.Any) -> Message:
    """The message in an Any. Raises KeyError for an unknown type."""
    descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    message: Message = message_factory.GetMessageClass(descriptor)()
    message.ParseFromString(packed.value)
    return message
