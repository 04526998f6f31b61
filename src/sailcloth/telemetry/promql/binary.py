"""Operators between two values. Pure; matching of labels is as in Prometheus' `VectorBinop`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..metrics.labels import NAME, Bools, ranges
from .errors import QueryError
from .vectors import Floats, Labels, Scalar, Vector, joined, merged

ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: dict[str, Callable[[Floats, Floats], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}
_MAX_CELLS = 30_000_000
SETS = frozenset(("and", "or", "unless"))


@dataclass(frozen=True, slots=True)
class Matching:
    """on: match by these labels only, else by all but these. many: which side may have several series ("", "left", "right")."""

    on: bool
    labels: tuple[str, ...]
    many: str = ""
    include: tuple[str, ...] = ()

    def signature(self, labels: Labels) -> Labels:
        """The labels that are compared."""
        return labels.only(self.labels) if self.on else labels.without((NAME, *self.labels))


def scalars(op: str, left: Scalar, right: Scalar) -> Scalar:
    """An operator between two scalars; comparisons give 0 or 1."""
    if op in COMPARISON:
        return COMPARISON[op](left, right).astype(np.float64)
    return ARITHMETIC[op](left, right)


def with_scalar(op: str, vector: Vector, scalar: Scalar, swapped: bool, as_bool: bool) -> Vector:
    """An operator between a vector and a scalar. swapped: the scalar is on the left."""
    one, other = (scalar, vector.values) if swapped else (vector.values, scalar)
    if op in ARITHMETIC:
        return Vector(vector.labels, ARITHMETIC[op](one, other), vector.present).nameless()
    truth = COMPARISON[op](one, other)
    if as_bool:
        return Vector(vector.labels, truth.astype(np.float64), vector.present).nameless()
    return Vector(vector.labels, vector.values, vector.present & truth).compact()


def _signatures(
    left: Vector, right: Vector, matching: Matching
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """(group of each left row, of each right row, number of groups) by the labels that are compared."""
    both = joined([matching.signature(left.labels), matching.signature(right.labels)])
    of, first = both.group()
    return of[: left.labels.count], of[left.labels.count :], len(first)


def sets(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """`and`, `or`, `unless`."""
    mine, theirs, count = _signatures(left, right, matching)
    steps = left.values.shape[1]
    if op == "or":
        has = np.zeros((count, steps), np.bool_)
        np.logical_or.at(has, mine, left.present)
        extra = Vector(right.labels, right.values, right.present & ~has[theirs]).compact()
        values, present = np.concatenate((left.values, extra.values)), np.concatenate((left.present, extra.present))
        return merged(Vector(joined([left.labels, extra.labels]), values, present))
    has = np.zeros((count, steps), np.bool_)
    np.logical_or.at(has, theirs, right.present)
    kept = has[mine] if op == "and" else ~has[mine]
    return Vector(left.labels, left.values, left.present & kept).compact()


def vectors(op: str, left: Vector, right: Vector, matching: Matching, as_bool: bool) -> Vector:
    """An operator between two vectors. Raises QueryError if the labels do not match one to one, or as `group_left` says."""
    # Duplicates are an error only where both sides have series
    active = left.present.any(axis=0) & right.present.any(axis=0)
    left, right = (Vector(v.labels, v.values, v.present & active).compact() for v in (left, right))
    swapped = matching.many == "right"
    many, one = (right, left) if swapped else (left, right)
    mine, theirs, count = _signatures(many, one, matching)
    sizes = np.bincount(theirs, minlength=count)
    if (sizes > 1).any():
        at_once = np.zeros((count, one.values.shape[1]), np.int32)
        np.add.at(at_once, theirs, one.present)
        if (at_once > 1).any():
            raise QueryError(_duplicates(matching, "left" if swapped else "right"))
    # Pairs of a row and each row of the one side that it matches; those follow each other in time.
    starts = np.cumsum(sizes) - sizes
    rows = np.repeat(np.arange(len(mine)), sizes[mine])
    if rows.size * one.values.shape[1] > _MAX_CELLS:
        raise QueryError("query processing would load too many samples into memory in query execution")
    partner = np.argsort(theirs, kind="stable")[ranges(starts[mine], starts[mine] + sizes[mine])]
    many = many.rows(rows)
    other, present = one.values[partner], many.present & one.present[partner]
    a, b = (other, many.values) if swapped else (many.values, other)
    labels = many.labels
    if op in ARITHMETIC:
        values = ARITHMETIC[op](a, b)
    else:
        truth = COMPARISON[op](a, b)
        values = truth.astype(np.float64) if as_bool else a
        present = present if as_bool else present & truth
    if op in ARITHMETIC or as_bool:
        labels = labels.without((NAME,))
    if matching.many:
        for name in matching.include:
            labels = labels.replaced(name, one.labels.column(name)[partner])
        error = "multiple matches for labels: grouping labels must ensure unique matches"
    else:
        labels = labels.only(matching.labels) if matching.on else labels.without(matching.labels)
        error = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    return merged(Vector(labels, values, present).compact(), error)


def _duplicates(matching: Matching, side: str) -> str:
    return (
        f"found duplicate series for the match group on the {side} hand-side of the operation: many-to-many matching not "
        f"allowed: matching labels must be unique on one side ({'on' if matching.on else 'ignoring'} {matching.labels})"
    )
