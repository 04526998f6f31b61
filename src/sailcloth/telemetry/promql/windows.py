"""Functions of ranges: `rate`, `increase`, `*_over_time` and their kin. Pure.

The samples of all series are in one flat array; a window is a pair of places in it. Sums over windows are made by numpy's `reduceat`, what
compares neighbours by running sums of integers, so that the work is per sample and not per series. Each function gives (values,
present), both of shape (series, steps). Extrapolation: `extrapolatedRate` of Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..metrics.chunks import MISSING_BITS, STALE_BITS, bits, present
from ..metrics.labels import Bools, Ints, ranges
from ..metrics.store import Batch
from .errors import QueryError
from .vectors import Floats, Scalar

Places = npt.NDArray[np.int64]
Result = tuple[Floats, Bools]
_MAX_EXPANDED = 200_000_000  # samples of a group of windows, each counted as often as it is in one
_SAMPLES, _CELLS = 1 << 20, 1 << 20  # of one group of windows: what stays in the processor's caches or near


@dataclass(slots=True)
class Windows:
    """series (n): the references of the batches; times in ms and values (samples + 1, the last is no sample); first and last: shape (n, steps), windows are half
    open; ends in ms (steps); range in ms."""

    series: Ints
    times: npt.NDArray[np.int64]
    values: Floats
    first: Places
    last: Places
    ends: npt.NDArray[np.int64]
    range_ms: int

    @property
    def counts(self) -> Places:
        return self.last - self.first


def build(
    batches: Iterable[Batch], ends: npt.NDArray[np.int64], range_ms: int, stale: bool = False
) -> Iterator[Windows]:
    """Windows that end at some times (ms) and include both ends. stale: keep stale markers as samples."""
    parts: list[tuple[Ints, npt.NDArray[np.int64], Floats, Places, Places]] = []
    samples = cells = 0
    for batch in batches:
        for piece in _pieces(batch, len(ends)):
            parts.append(_place(piece, ends, range_ms, stale))
            samples, cells = samples + piece.values.size, cells + parts[-1][3].size
            if samples >= _SAMPLES or cells >= _CELLS:
                yield _joined(parts, ends, range_ms)
                parts, samples, cells = [], 0, 0
    if parts:
        yield _joined(parts, ends, range_ms)


def _pieces(batch: Batch, steps: int) -> Iterator[Batch]:
    """Parts of a large batch."""
    most = max(1, min(2 * _SAMPLES // max(len(batch.times), 1), 2 * _CELLS // max(steps, 1)))
    if len(batch.refs) <= most:
        yield batch
        return
    for begin in range(0, len(batch.refs), most):
        part = slice(begin, begin + most)
        yield Batch(batch.refs[part], batch.times, batch.values[part])


def _place(
    batch: Batch, ends: npt.NDArray[np.int64], range_ms: int, stale: bool
) -> tuple[Ints, npt.NDArray[np.int64], Floats, Places, Places]:
    n, k = batch.values.shape
    low = np.searchsorted(batch.times, ends - range_ms, side="left")
    high = np.searchsorted(batch.times, ends, side="right")
    kept = bits(batch.values) != MISSING_BITS if stale else present(batch.values)
    times = np.broadcast_to(batch.times, (n, k))
    if kept.all():
        base = np.arange(n, dtype=np.int64)[:, None] * k
        return batch.refs, times.reshape(-1), batch.values.reshape(-1), base + low, base + high
    before = np.zeros((n, k + 1), np.int64)
    np.cumsum(kept, axis=1, out=before[:, 1:])
    base = np.cumsum(before[:, -1]) - before[:, -1]
    place = base[:, None] + before
    return batch.refs, times[kept], batch.values[kept], place[:, low], place[:, high]


def _joined(parts: list[tuple[Any, ...]], ends: npt.NDArray[np.int64], range_ms: int) -> Windows:
    sizes = np.array([len(p[2]) for p in parts], np.int64)
    offsets = np.cumsum(sizes) - sizes
    return Windows(
        np.concatenate([p[0] for p in parts]),
        np.concatenate([*(p[1] for p in parts), np.zeros(1, np.int64)]),
        np.concatenate([*(p[2] for p in parts), np.zeros(1)]),
        np.concatenate([p[3] + o for p, o in zip(parts, offsets, strict=True)]),
        np.concatenate([p[4] + o for p, o in zip(parts, offsets, strict=True)]),
        ends,
        range_ms,
    )


def newest(w: Windows) -> Result:
    """The last sample of each window; none if that is a stale marker."""
    there = w.counts > 0
    values = w.values[np.where(there, w.last - 1, 0)]
    return values, there & (bits(values) != STALE_BITS)


def newest_time(w: Windows) -> Result:
    """When the last sample was taken, in seconds."""
    _, there = newest(w)
    return w.times[np.where(there, w.last - 1, 0)] / 1000.0, there


def _edges(w: Windows, least: int = 2) -> tuple[Bools, Places, Places]:
    """(windows with enough samples, place of the first, place of the last)."""
    enough = w.counts >= least
    return enough, np.where(enough, w.first, 0), np.where(enough, w.last - 1, 0)


def _extrapolated(w: Windows, counter: bool, per_second: bool) -> Result:
    enough, a, b = _edges(w)
    v0, t0, t1 = w.values[a], w.times[a], w.times[b]
    change = w.values[b] - v0
    if counter:
        fallen = w.values[1:] < w.values[:-1]
        if fallen.any():
            lost = np.concatenate((np.zeros(1), np.cumsum(np.where(fallen, w.values[:-1], 0.0))))
            change += lost[b] - lost[a]
    to_start = (t0 - (w.ends - w.range_ms)) / 1000.0
    to_end = (w.ends - t1) / 1000.0
    sampled = (t1 - t0) / 1000.0
    average = sampled / (b - a)
    if counter:
        to_zero = sampled * (v0 / change)
        to_start = np.where((change > 0) & (v0 >= 0) & (to_zero < to_start), to_zero, to_start)
    threshold = average * 1.1
    span = sampled + np.where(to_start < threshold, to_start, average / 2)
    span += np.where(to_end < threshold, to_end, average / 2)
    factor = span / sampled
    if per_second:
        factor /= w.range_ms / 1000.0
    return change * factor, enough


def _instant(w: Windows, rate: bool) -> Result:
    enough, _, b = _edges(w)
    newer, older = w.values[b], w.values[b - 1]
    change = newer - older
    if not rate:
        return change, enough
    change = np.where(newer < older, newer, change)
    gap = (w.times[b] - w.times[b - 1]) / 1000.0
    return change / gap, enough & (gap > 0)


def _neighbours(w: Windows, differ: Callable[[Floats, Floats], Bools]) -> Result:
    """How many neighbouring samples satisfy a condition on (older, newer)."""
    there, a, b = _edges(w, 1)
    running: Places = np.concatenate((np.zeros(1, np.int64), np.cumsum(differ(w.values[:-1], w.values[1:]))))
    return (running[b] - running[a]).astype(np.float64), there


def _changed(older: Floats, newer: Floats) -> Bools:
    out: Bools = (older != newer) & ~(np.isnan(older) & np.isnan(newer))
    return out


def _reduced(w: Windows, ufunc: np.ufunc, values: Floats) -> Floats:
    places = np.empty(2 * w.first.size, np.int64)
    places[0::2], places[1::2] = w.first.reshape(-1), w.last.reshape(-1)
    out: Floats = ufunc.reduceat(values, places)[::2].reshape(w.first.shape)
    return out


def _expanded(w: Windows, work: Callable[[Places, Places, Places], Floats]) -> Result:
    """Apply a function to (windows' sizes, window of each sample, place of each sample), a few million samples at a time."""
    counts, shape = w.counts.reshape(-1), w.first.shape
    first, last = w.first.reshape(-1), w.last.reshape(-1)
    out = np.zeros(len(counts))
    totals = np.cumsum(counts)
    if len(totals) and totals[-1] > _MAX_EXPANDED:
        raise QueryError("query processing would load too many samples into memory in query execution")
    begin = 0
    while begin < len(counts):
        done = totals[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(totals, done + 4 * _SAMPLES, side="right")))
        sizes = counts[begin:end]
        window = np.repeat(np.arange(end - begin), sizes)
        out[begin:end] = work(sizes, window, ranges(first[begin:end], last[begin:end]))
        begin = end
    return out.reshape(shape), counts.reshape(shape) > 0


def _variance(w: Windows) -> Result:
    def work(sizes: Places, window: Places, place: Places) -> Floats:
        values = w.values[place]
        mean: Floats = np.bincount(window, values, len(sizes)) / sizes
        squares = np.bincount(window, (values - mean[window]) ** 2, len(sizes))
        out: Floats = squares / sizes
        return out

    constant, _ = _constant(w)
    values, there = _expanded(w, work)
    return np.where(constant, 0.0, values), there


def _constant(w: Windows) -> tuple[Bools, Floats]:
    """(windows in which a finite value does not change, that value): means of such are exact."""
    changes, there = _neighbours(w, _changed)
    value = w.values[np.where(there, w.first, 0)]
    return there & (changes == 0) & np.isfinite(value), value


def quantile(w: Windows, q: Scalar) -> Result:
    """quantile_over_time; q: of each step."""
    wanted = np.broadcast_to(q, w.first.shape).reshape(-1)
    at = 0

    def work(sizes: Places, window: Places, place: Places) -> Floats:
        nonlocal at
        values = w.values[place]
        ordered = values[np.lexsort((np.where(np.isnan(values), -np.inf, values), window))]
        out = picked(ordered, np.cumsum(sizes) - sizes, sizes, wanted[at : at + len(sizes)])
        at += len(sizes)
        return out

    return _expanded(w, work)


def picked(ordered: Floats, starts: Places, sizes: Places, q: Floats) -> Floats:
    """Prometheus' quantile of groups of ascending values. Empty groups give undefined numbers."""
    rank = q * (sizes - 1)
    low = np.clip(np.floor(np.nan_to_num(rank)), 0, np.maximum(sizes - 1, 0)).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(sizes - 1, 0))
    weight = rank - np.floor(rank)
    padded = np.append(ordered, 0.0)
    top = len(ordered)
    below, above = padded[np.minimum(starts + low, top)], padded[np.minimum(starts + high, top)]
    out = below * (1 - weight) + above * weight
    out = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, out))
    return np.where(np.isnan(q), np.nan, out)


def _regression(w: Windows, origin_ms: Places | None) -> tuple[Floats, Floats, Bools]:
    """(slope per second, value at the origin) of a least squares line; the origin is the first sample if none is given."""
    enough, a, _ = _edges(w)
    start = w.times[a] if origin_ms is None else np.broadcast_to(origin_ms, a.shape)
    intercepts = np.zeros(a.size)
    origins, firsts = start.reshape(-1), w.values[a].reshape(-1)
    at = 0

    def work(sizes: Places, window: Places, place: Places) -> Floats:
        nonlocal at
        here = slice(at, at + len(sizes))
        x = (w.times[place] - origins[here][window]) / 1000.0
        y = w.values[place]
        mean_x, mean_y = np.bincount(window, x, len(sizes)) / sizes, np.bincount(window, y, len(sizes)) / sizes
        dx = x - mean_x[window]
        slope = np.bincount(window, dx * (y - mean_y[window]), len(sizes)) / np.bincount(window, dx * dx, len(sizes))
        flat = np.bincount(window, y != firsts[here][window], len(sizes)) == 0
        slope = np.where(flat, np.where(np.isinf(firsts[here]), np.nan, 0.0), slope)
        intercepts[here] = np.where(flat, firsts[here] + slope, mean_y - slope * mean_x)
        at += len(sizes)
        return slope

    slope, _ = _expanded(w, work)
    return slope, intercepts.reshape(slope.shape), enough


def _deriv(w: Windows) -> Result:
    slope, _, enough = _regression(w, None)
    return slope, enough


def predicted(w: Windows, seconds: Scalar, now_ms: npt.NDArray[np.int64]) -> Result:
    """predict_linear: the value some seconds after each step."""
    slope, intercept, enough = _regression(w, now_ms)
    return slope * seconds + intercept, enough


def _ones(w: Windows) -> Result:
    return np.ones(w.first.shape), w.counts > 0


def _mean(w: Windows) -> Result:
    constant, value = _constant(w)
    return np.where(constant, value, _reduced(w, np.add, w.values) / np.maximum(w.counts, 1)), w.counts > 0


FUNCTIONS: dict[str, Callable[[Windows], Result]] = {
    "rate": lambda w: _extrapolated(w, counter=True, per_second=True),
    "increase": lambda w: _extrapolated(w, counter=True, per_second=False),
    "delta": lambda w: _extrapolated(w, counter=False, per_second=False),
    "irate": lambda w: _instant(w, rate=True),
    "idelta": lambda w: _instant(w, rate=False),
    "deriv": _deriv,
    "changes": lambda w: _neighbours(w, _changed),
    "resets": lambda w: _neighbours(w, lambda older, newer: newer < older),
    "sum_over_time": lambda w: (_reduced(w, np.add, w.values), w.counts > 0),
    "avg_over_time": _mean,
    "min_over_time": lambda w: (_reduced(w, np.fmin, w.values), w.counts > 0),
    "max_over_time": lambda w: (_reduced(w, np.fmax, w.values), w.counts > 0),
    "count_over_time": lambda w: (w.counts.astype(np.float64), w.counts > 0),
    "stdvar_over_time": _variance,
    "stddev_over_time": lambda w: (np.sqrt(_variance(w)[0]), w.counts > 0),
    "last_over_time": newest,
    "present_over_time": _ones,
}
"""Those with a range as their only argument."""
