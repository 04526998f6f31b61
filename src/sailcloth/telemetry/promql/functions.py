"""Functions of instant vectors and scalars. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sailcloth.lib import regex

from ..metrics.labels import Bools
from .errors import QueryError
from .vectors import Floats, Labels, Scalar, Vector, merged

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\})")


def _sign(v: Floats) -> Floats:
    return np.where(v < 0, -1.0, np.where(v > 0, 1.0, v))


def _round(v: Floats, nearest: Scalar | None = None) -> Floats:
    inverse = 1.0 / (np.ones(1) if nearest is None else nearest)
    out: Floats = np.floor(v * inverse + 0.5) / inverse
    return out


MATH: dict[str, Callable[..., Floats]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sgn": _sign,
    "round": _round,
    "clamp_min": np.maximum,
    "clamp_max": np.minimum,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "deg": np.degrees,
    "rad": np.radians,
}
"""Functions of each value; further arguments are scalars."""


def _dates(v: Floats) -> Any:
    seconds = np.clip(np.nan_to_num(np.trunc(v)), -(2.0**55), 2.0**55).astype(np.int64)
    return seconds.astype("datetime64[s]")


def _days(v: Floats) -> npt.NDArray[np.int64]:
    out: npt.NDArray[np.int64] = _dates(v).astype("datetime64[D]").astype(np.int64)
    return out


def _since(v: Floats, unit: str) -> npt.NDArray[np.int64]:
    """Days since the start of the month or the year."""
    start: npt.NDArray[np.int64] = _dates(v).astype(f"datetime64[{unit}]").astype("datetime64[D]").astype(np.int64)
    return _days(v) - start


def _month_days(v: Floats) -> npt.NDArray[np.int64]:
    month = _dates(v).astype("datetime64[M]")
    days: npt.NDArray[np.int64] = (month + 1).astype("datetime64[D]").astype(np.int64) - month.astype(
        "datetime64[D]"
    ).astype(np.int64)
    return days


DATES: dict[str, Callable[[Floats], npt.NDArray[np.int64]]] = {
    "minute": lambda v: _dates(v).astype("datetime64[m]").astype(np.int64) % 60,
    "hour": lambda v: _dates(v).astype("datetime64[h]").astype(np.int64) % 24,
    "day_of_week": lambda v: (_days(v) + 4) % 7,
    "day_of_month": lambda v: _since(v, "M") + 1,
    "day_of_year": lambda v: _since(v, "Y") + 1,
    "days_in_month": _month_days,
    "month": lambda v: _dates(v).astype("datetime64[M]").astype(np.int64) % 12 + 1,
    "year": lambda v: _dates(v).astype("datetime64[Y]").astype(np.int64) + 1970,
}
"""Functions of a time in seconds, in UTC."""


def clamp(vector: Vector, low: Scalar, high: Scalar) -> Vector:
    """`clamp`; nothing where the bounds cross."""
    values = np.maximum(low, np.minimum(high, vector.values))
    return Vector(vector.labels, values, vector.present & ~(high < low)).nameless()


def scalar(vector: Vector) -> Scalar:
    """The value of the only series of each step, else NaN."""
    alone = vector.present.sum(axis=0) == 1
    values = np.where(vector.present, vector.values, 0.0).sum(axis=0)
    return np.where(alone, values, np.nan)


def ordered(vector: Vector, descending: bool) -> Vector:
    """`sort`: by the value of a single step, NaN last; queries over several steps have no order."""
    if vector.values.shape[1] != 1:
        return vector
    values = vector.values[:, 0]
    return vector.rows(np.argsort(-values if descending else values, kind="stable"))


def label_replace(vector: Vector, target: str, template: str, source: str, pattern: str) -> Vector:
    """`label_replace`. Raises QueryError."""
    try:
        compiled = regex.compiled(f"^(?:{pattern})$")
    except regex.BadRegex:
        raise QueryError(f"invalid regular expression in label_replace(): {pattern}") from None
    if not _LABEL_NAME.fullmatch(target):
        raise QueryError(f"invalid destination label name in label_replace(): {target}")
    labels = vector.labels

    def made(text: str) -> str | None:
        match = compiled.search(text)
        return None if match is None else _expanded(template, match)

    values, places = np.unique(labels.column(source), return_inverse=True)
    results = [made(labels.strings.text(v)) for v in values.tolist()]
    replaced = np.array([0 if r is None else labels.strings.id(r) for r in results], np.int32)[places.reshape(-1)]
    matches = np.array([r is not None for r in results], np.bool_)[places.reshape(-1)]
    column = np.where(matches, replaced, labels.column(target)).astype(np.int32)
    return merged(Vector(labels.replaced(target, column), vector.values, vector.present))


def _expanded(template: str, match: re.Match[str]) -> str:
    """Go's `Regexp.Expand`."""

    def one(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except (IndexError, KeyError):
            return ""

    return _REFERENCE.sub(one, template)


def label_join(vector: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """`label_join`. Raises QueryError."""
    if not _LABEL_NAME.fullmatch(target):
        raise QueryError(f"invalid destination label name in label_join(): {target}")
    for name in sources:
        if not _LABEL_NAME.fullmatch(name):
            raise QueryError(f"invalid source label name in label_join(): {name}")
    labels = vector.labels
    of, first = labels.group(sources)
    columns = [labels.column(n)[first].tolist() for n in sources]
    texts = [separator.join(map(labels.strings.text, row)) for row in zip(*columns, strict=True)] or [""] * len(first)
    column = np.array([labels.strings.id(t) for t in texts], np.int32)[of] if len(of) else of.astype(np.int32)
    return merged(Vector(labels.replaced(target, column), vector.values, vector.present))


def histogram_quantile(q: Scalar, vector: Vector) -> Vector:
    """The quantile of classic histograms, by linear interpolation within buckets."""
    labels = vector.labels
    bounds = _bounds(labels)
    vector = vector.rows(np.flatnonzero(~np.isnan(bounds)))
    bounds, labels = bounds[~np.isnan(bounds)], vector.labels.without(("le", "__name__"))
    of, first = labels.group()
    values = np.full((len(first), vector.values.shape[1]), np.nan)
    present = np.zeros(values.shape, np.bool_)
    order = np.lexsort((bounds, of))
    sizes = np.bincount(of, minlength=len(first))
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        groups = np.flatnonzero(sizes == size)
        rows = order[starts[groups][:, None] + np.arange(size)]  # groups x buckets
        there = vector.present[rows]
        present[groups] = there.any(axis=1)
        upper = bounds[rows]
        counts = vector.values[rows]
        regular = (there.all(axis=1) | ~present[groups]).all() and not (upper[:, 1:] == upper[:, :-1]).any()
        if regular:
            values[groups] = _quantiles(q, upper, counts)
        else:
            for i, group in enumerate(groups.tolist()):
                for step in np.flatnonzero(present[group]).tolist():
                    some = there[i, :, step]
                    distinct, place = np.unique(upper[i][some], return_inverse=True)
                    sums = np.bincount(place.reshape(-1), counts[i, some, step]).astype(np.float64)
                    values[group, step] = _quantiles(q[step : step + 1], distinct[None], sums[None, :, None])[0, 0]
    return Vector(labels.take(first), values, present)


def _bounds(labels: Labels) -> Floats:
    """The value of `le` of each series; NaN if it is no number."""
    values, places = np.unique(labels.column("le"), return_inverse=True)

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return float("nan")

    return np.array([number(labels.strings.text(v)) for v in values.tolist()])[places.reshape(-1)]


def _quantiles(q: Scalar, upper: Floats, counts: Floats) -> Floats:
    """Prometheus' `bucketQuantile`. upper: (groups, buckets), ascending; counts: (groups, buckets, steps), cumulative."""
    groups, buckets, steps = counts.shape
    if buckets < 2:
        return np.where(q < 0, -np.inf, np.where(q > 1, np.inf, np.full((groups, steps), np.nan)))
    counts = np.maximum.accumulate(counts, axis=1)
    total = counts[:, -1]
    rank = q * total
    at = np.minimum((counts[:, :-1] < rank[:, None]).sum(axis=1), buckets - 1)  # the first bucket that reaches the rank
    row, step = np.arange(groups)[:, None], np.arange(steps)[None, :]
    before = np.maximum(at - 1, 0)
    start = np.where(at > 0, upper[row, before], 0.0)
    below = np.where(at > 0, counts[row, before, step], 0.0)
    end = upper[row, at]
    out = start + (end - start) * ((rank - below) / (counts[row, at, step] - below))
    out = np.where((at == 0) & (upper[:, :1] <= 0), upper[:, :1], out)
    out = np.where(at == buckets - 1, upper[:, -2:-1], out)
    out = np.where((total == 0) | np.isnan(total) | ~np.isposinf(upper[:, -1:]) | np.isnan(q), np.nan, out)
    return np.where(q < 0, -np.inf, np.where(q > 1, np.inf, out))


def absent(vector_present: Bools) -> Bools:
    """The steps at which no series is present."""
    out: Bools = np.logical_not(vector_present.any(axis=0))
    return out
