"""Prometheus' remote write protocol, version 1: series and samples as compressed protobuf. Pure.

https://prometheus.io/docs/concepts/remote_write_spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

MAX_BYTES = 64 << 20  # of one request, decompressed
Samples = Sequence[tuple[int, float]]  # times in ms, values; stale markers keep their bits

_FIELDS = {
    "WriteRequest": [("timeseries", 1, "TimeSeries", True)],
    "TimeSeries": [("labels", 1, "Label", True), ("samples", 2, "Sample", True)],
    "Label": [("name", 1, "string", False), ("value", 2, "string", False)],
    "Sample": [("value", 1, "double", False), ("timestamp", 2, "int64", False)],
}


def _request_type() -> Any:
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": kinds.TYPE_STRING, "double": kinds.TYPE_DOUBLE, "int64": kinds.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name="remote_write.proto", package="prometheus", syntax="proto3")
    for name, fields in _FIELDS.items():
        made = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = made.field.add(name=field, number=number, type=scalars.get(kind, kinds.TYPE_MESSAGE))
            added.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind not in scalars:
                added.type_name = f".prometheus.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


_WriteRequest = _request_type()


def encode(series: Iterable[tuple[Mapping[str, str], Samples]]) -> bytes:
    """The body of a request."""
    request = _WriteRequest()
    for labels, samples in series:
        added = request.timeseries.add()
        for name, value in sorted(labels.items()):
            added.labels.add(name=name, value=value)
        for time_ms, number in samples:
            added.samples.add(value=number, timestamp=time_ms)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def decode(body: bytes) -> list[tuple[dict[str, str], Samples]]:
    """The series of a request's body. Raises ValueError."""
    try:
        if cramjam.snappy.decompress_raw_len(body) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        request = _WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
    except (cramjam.DecompressionError, message.DecodeError) as error:
        raise ValueError(f"not a compressed WriteRequest: {error}") from None
    return [
        ({label.name: label.value for label in s.labels}, [(p.timestamp, p.value) for p in s.samples])
        for s in request.timeseries
    ]
