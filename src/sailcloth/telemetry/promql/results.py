"""Values as the HTTP API's JSON objects. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from .evaluate import RangeVector, Steps, Value
from .numbers import sample
from .vectors import Vector


def seconds(ms: int) -> float | int:
    """A time in seconds, as Prometheus prints it: without a fraction if there is none."""
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def instant(value: Value | RangeVector, at_ms: int) -> dict[str, Any]:
    """The data of an instant query."""
    at = seconds(at_ms)
    if isinstance(value, str):
        return {"resultType": "string", "result": [at, value]}
    if isinstance(value, RangeVector):
        labels = value.labels.dicts()
        rows = [
            {"metric": metric, "values": _points(times.tolist(), values.tolist())}
            for metric, (times, values) in zip(labels, value.samples, strict=True)
        ]
        return {"resultType": "matrix", "result": sorted(rows, key=_metric)}
    if isinstance(value, np.ndarray):
        return {"resultType": "scalar", "result": [at, sample(float(value[0]))]}
    value = value.compact()
    numbers = value.values[:, 0].tolist()
    vector = [{"metric": m, "value": [at, sample(v)]} for m, v in zip(value.labels.dicts(), numbers, strict=True)]
    return {"resultType": "vector", "result": vector}


def over_range(value: Value, steps: Steps) -> dict[str, Any]:
    """The data of a range query."""
    times = steps.tolist()
    if isinstance(value, np.ndarray):
        return {"resultType": "matrix", "result": [{"metric": {}, "values": _points(times, value.tolist())}]}
    assert isinstance(value, Vector)
    value = value.compact()
    rows = []
    for metric, numbers, present in zip(value.labels.dicts(), value.values, value.present, strict=True):
        at = np.flatnonzero(present)
        rows.append({"metric": metric, "values": _points(steps[at].tolist(), numbers[at].tolist())})
    return {"resultType": "matrix", "result": sorted(rows, key=_metric)}


def _points(times: list[int], values: list[float]) -> list[list[Any]]:
    return [[seconds(t), sample(v)] for t, v in zip(times, values, strict=True)]


def _metric(row: dict[str, Any]) -> list[tuple[str, str]]:
    return list(row["metric"].items())
