"""Istio's NameTable message (networking/nds/v1): names and addresses for the DNS proxy of agents.

Defines the descriptor itself, because no published package has it. Field numbers are Istio's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "istio.networking.nds.v1"


def _message() -> Any:
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="networking/nds/v1/nds.proto", package=_PACKAGE, syntax="proto3")
    table = file.message_type.add(name="NameTable")
    info = table.nested_type.add(name="NameInfo")
    for number, name in enumerate(("ips", "registry", "shortname", "namespace"), start=1):
        label = kind.LABEL_REPEATED if name == "ips" else kind.LABEL_OPTIONAL
        info.field.add(name=name, number=number, label=label, type=kind.TYPE_STRING)
    entry = table.nested_type.add(name="TableEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_STRING)
    value = f".{_PACKAGE}.NameTable.NameInfo"
    entry.field.add(name="value", number=2, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE, type_name=value)
    entries = f".{_PACKAGE}.NameTable.TableEntry"
    table.field.add(name="table", number=1, label=kind.LABEL_REPEATED, type=kind.TYPE_MESSAGE, type_name=entries)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.NameTable"))


NameTable = _message()
KUBERNETES, EXTERNAL = "Kubernetes", "External"


def encode(addresses: Mapping[str, tuple[str, ...]], registry: str, name: str, namespace: str) -> bytes:
    """The serialised table of one service's names; equal tables have equal bytes."""
    table = NameTable()
    for host, ips in sorted(addresses.items()):
        table.table[host].CopyFrom(NameTable.NameInfo(ips=ips, registry=registry, shortname=name, namespace=namespace))
    return bytes(table.SerializeToString(deterministic=True))


def decode(body: bytes) -> dict[str, tuple[str, ...]]:
    """Addresses by host. Raises DecodeError for malformed bytes."""
    return {host: tuple(info.ips) for host, info in NameTable.FromString(body).table.items()}
