"""Aggregations over series: `sum by (…)` and its kin. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..metrics.labels import NAME
from .errors import QueryError
from .numbers import plain
from .vectors import Floats, Labels, Scalar, Vector
from .windows import picked

Places = npt.NDArray[np.int64]
SIMPLE = frozenset(("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"))


def grouping(labels: Labels, by: bool, names: Sequence[str]) -> Labels:
    """The labels that groups have."""
    return labels.only(names) if by else labels.without((NAME, *names))


class Groups:
    """Rows of a vector by group. `order` sorts rows by group; `starts` are the groups' places in it."""

    def __init__(self, vector: Vector, labels: Labels) -> None:
        self.of, first = labels.group()
        self.labels = labels.take(first)
        self.order = np.argsort(self.of, kind="stable")
        self.starts = np.searchsorted(self.of[self.order], np.arange(len(first)))
        self.present = vector.present
        self.counts = np.add.reduceat(vector.present[self.order].astype(np.int64), self.starts, axis=0)

    def reduce(self, ufunc: np.ufunc, values: Floats, absent: float) -> Floats:
        """A ufunc over the present values of each group and step."""
        filled = np.where(self.present, values, absent)
        out: Floats = ufunc.reduceat(filled[self.order], self.starts, axis=0)
        return out


def simple(op: str, vector: Vector, labels: Labels) -> Vector:
    """Aggregate without a parameter. labels: what groups have, of each row."""
    if not labels.count:
        return vector
    groups, values = Groups(vector, labels), vector.values
    counts = groups.counts
    size = np.maximum(counts, 1)
    if op == "count":
        out = counts.astype(np.float64)
    elif op == "group":
        out = np.ones(counts.shape)
    elif op == "min":
        out = groups.reduce(np.fmin, values, np.nan)
    elif op == "max":
        out = groups.reduce(np.fmax, values, np.nan)
    else:
        out = groups.reduce(np.add, values, 0.0)
        if op != "sum":
            low, high = groups.reduce(np.fmin, values, np.nan), groups.reduce(np.fmax, values, np.nan)
            out = np.where((low == high) & np.isfinite(out), low, out / size)  # the mean of equal values is exact
        if op.startswith("std"):
            out = groups.reduce(np.add, (values - out[groups.of]) ** 2, 0.0) / size
            out = np.where(counts == 1, 0.0, np.sqrt(out) if op == "stddev" else out)  # also of NaN alone
    return Vector(groups.labels, out, counts > 0)


def quantile(vector: Vector, labels: Labels, q: Scalar) -> Vector:
    """`quantile(q, …)`."""
    if not labels.count:
        return vector
    groups = Groups(vector, labels)
    out = np.zeros(groups.counts.shape)
    for step in range(len(q)):
        rows = np.flatnonzero(vector.present[:, step])
        values, of = vector.values[rows, step], groups.of[rows]
        ordered = values[np.lexsort((np.where(np.isnan(values), -np.inf, values), of))]
        sizes = groups.counts[:, step]
        out[:, step] = picked(ordered, np.cumsum(sizes) - sizes, sizes, np.full(len(sizes), q[step]))
    return Vector(groups.labels, out, groups.counts > 0)


def top(op: str, vector: Vector, labels: Labels, k: Scalar) -> Vector:
    """`topk` and `bottomk`: the chosen series themselves; at a single step in order of their values. NaN is chosen last."""
    if not labels.count:
        return vector
    of, _ = labels.group()
    chosen = np.zeros_like(vector.present)
    order: Places = np.zeros(0, np.int64)
    for step in range(vector.values.shape[1]):
        rows = np.flatnonzero(vector.present[:, step])
        values = vector.values[rows, step]
        ascending = -values if op == "topk" else values
        order = rows[np.lexsort((ascending, of[rows]))]  # NaN is sorted last
        groups = of[order]
        rank = np.arange(len(order)) - np.searchsorted(groups, groups)
        order = order[rank < (k[step] if k[step] >= 1 else 0)]
        chosen[order, step] = True
    out = Vector(vector.labels, vector.values, chosen)
    return out.rows(order) if vector.values.shape[1] == 1 else out.compact()


def count_values(vector: Vector, labels: Labels, name: str) -> Vector:
    """How many series of each group have each value, which becomes a label. Raises QueryError."""
    if not name.isidentifier() or not name.isascii():
        raise QueryError(f'invalid label name "{name}"')
    if not labels.count:
        return vector
    labels = labels.without((name,))
    of, first = labels.group()
    rows, steps = np.nonzero(vector.present)
    values = vector.values[rows, steps]
    kinds, kind = np.unique(values, return_inverse=True)
    pairs, place = np.unique(of[rows] * len(kinds) + kind.reshape(-1), return_inverse=True)
    counts = np.zeros((len(pairs), vector.values.shape[1]))
    np.add.at(counts, (place.reshape(-1), steps), 1)
    if not len(pairs):
        return Vector(labels.take(first[:0]), counts, counts > 0)
    ids = np.array([labels.strings.id(plain(v)) for v in kinds.tolist()], np.int32)
    out = labels.take(first[pairs // len(kinds)]).replaced(name, ids[pairs % len(kinds)])
    return Vector(out, counts, counts > 0)
