"""Prometheus' remote write protocol, version 1: series and samples as compressed protobuf, into the store and out of it. Pure.

Into it: the series of a request that are new become one target for each job and instance, since a sender keeps them together and in order.

https://prometheus.io/docs/concepts/remote_write_spec/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import cramjam
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from .metrics import chunks
from .metrics.labels import NAME
from .metrics.store import NewRow, OutOfOrder, Store, Target, columns

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


_PREFIX = "remote/"


def receive(store: Store, series: Iterable[tuple[Mapping[str, str], Samples]]) -> int:
    """Take the samples of a request; returns how many are not later than what the store has. Raises ValueError."""
    made: dict[tuple[str, str], Target] = {}
    by_target: dict[Target, dict[int, list[tuple[Mapping[str, str], float]]]] = defaultdict(lambda: defaultdict(list))
    for labels, samples in series:
        if not labels.get(NAME):
            raise ValueError("a series has no name")
        target = _target(store, labels, made)
        if target is not None:
            for time_ms, value in samples:
                by_target[target][time_ms].append((labels, value))
    return sum(_append(store, t, at, cells) for t, times in by_target.items() for at, cells in sorted(times.items()))


def _target(store: Store, labels: Mapping[str, str], made: dict[tuple[str, str], Target]) -> Target | None:
    """Where a series belongs; None if a page that is scraped has it too."""
    ref = store.index.find(labels)
    if ref >= 0:
        owner = store.targets[int(store.index.owner[ref])]
        if owner.name.startswith(_PREFIX):
            return owner
        store.conflicting += 1
        return None
    of = labels.get("job", ""), labels.get("instance", "")
    if of not in made:
        stem = _PREFIX + "/".join(of)
        number = sum(t.name.startswith(stem) for t in store.targets.values())
        made[of] = store.target(f"{stem}/{number}")
    return made[of]


def _append(store: Store, target: Target, time_ms: int, cells: list[tuple[Mapping[str, str], float]]) -> int:
    rows, values, new = [], [], []
    for labels, value in cells:
        ref = store.index.find(labels)
        if ref >= 0:
            rows.append(int(store.index.row[ref]))
            values.append(value)
        else:
            new.append(NewRow(hash(frozenset(labels.items())), labels, value))
    try:
        if time_ms == target.last_ms and not new:
            store.amend(target, time_ms, rows, values)
        else:
            store.append(target, time_ms, rows, values, new, ends=False)
    except OutOfOrder:
        return len(cells)
    return 0


def unsent(store: Store, target: Target, since_ms: int) -> Iterator[tuple[Mapping[str, str], Samples]]:
    """What a target has later than a time, series by series, with one stale marker where a series ends."""
    index, rows = store.index, np.flatnonzero(target.refs[: target.count] >= 0).astype(np.int32)
    refs = target.refs[rows]
    parts = list(columns(target.view, rows, since_ms, 1 << 62))
    if not parts:
        return
    times = np.concatenate([t for t, _ in parts])
    values = np.concatenate([v for _, v in parts], axis=1)
    raw = chunks.bits(np.ascontiguousarray(values))
    kept = raw != chunks.MISSING_BITS
    kept[:, 1:] &= (raw[:, 1:] != chunks.STALE_BITS) | (raw[:, :-1] != chunks.STALE_BITS)
    if times[0] == since_ms:
        kept[:, 0] = False
    else:
        kept[:, 0] &= raw[:, 0] != chunks.STALE_BITS
    for row in np.flatnonzero(kept.any(axis=1)).tolist():
        at = kept[row]
        yield index.labels(int(refs[row])), list(zip(times[at].tolist(), values[row, at].tolist(), strict=True))
