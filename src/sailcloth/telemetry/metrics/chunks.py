"""Chunks: some columns of a target, encoded so that each sample comes back exactly.

Rows are encoded one by one in the smallest form that is exact: one value, differences of 8, 16 or 32 bits where all values are
integers below 2^53 (counters), 32-bit floats, or 64-bit floats. An idle counter takes 14 bytes a chunk. Pure.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

STALE_BITS = 0x7FF0000000000002  # Prometheus' stale marker: the series has ended
MISSING_BITS = 0x7FF0000000000004  # the series has no sample in this column
STALE, MISSING = np.array([STALE_BITS, MISSING_BITS], np.uint64).view(np.float64)
_EXACT = 2.0**53

# Forms, in order of size.
_NONE, _CONSTANT, _INT8, _INT16, _INT32, _FLOAT32, _FLOAT64 = range(7)
_TYPES = {_INT8: np.int8, _INT16: np.int16, _INT32: np.int32, _FLOAT32: np.float32, _FLOAT64: np.float64}
_HEAD = struct.Struct("<II")


def bits(values: Floats) -> npt.NDArray[np.uint64]:
    """The values' bits, which tell the two markers from other NaNs."""
    return values.view(np.uint64)


def present(values: Floats) -> npt.NDArray[np.bool_]:
    """Which cells are samples; stale markers are not."""
    raw = bits(values)
    out: npt.NDArray[np.bool_] = (raw != STALE_BITS) & (raw != MISSING_BITS)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Columns of a target. times: ms, ascending. Rows beyond `len(forms)` are missing."""

    times: Times
    forms: npt.NDArray[np.uint8]
    first: Floats  # the first value of each row
    place: npt.NDArray[np.int32]  # of each row in its form's array
    rest: dict[int, npt.NDArray[Any]]

    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays: list[npt.NDArray[Any]] = [self.times, self.forms, self.first, self.place, *self.rest.values()]
        return sum(a.nbytes for a in arrays)

    def decode(self, rows: npt.NDArray[Any]) -> Floats:
        """The samples of some rows: shape (rows, columns)."""
        out = np.empty((len(rows), len(self.times)))
        inside = rows < len(self.forms)
        safe = np.where(inside, rows, 0)
        forms = np.where(inside, self.forms[safe] if len(self.forms) else _NONE, _NONE)
        for form in np.unique(forms).tolist():
            at = np.flatnonzero(forms == form)
            mine = rows[at]
            if form == _NONE:
                out[at] = MISSING
            elif form == _CONSTANT:
                out[at] = self.first[mine][:, None]
            elif form in (_FLOAT32, _FLOAT64):
                out[at] = self.rest[form][self.place[mine]]
            else:
                steps = np.empty((len(at), len(self.times)))
                steps[:, 0] = self.first[mine]
                steps[:, 1:] = self.rest[form][self.place[mine]]
                out[at] = np.cumsum(steps, axis=1)
        return out

    def to_bytes(self) -> bytes:
        """A compressed form."""
        n, k = len(self.forms), len(self.times)
        gaps = np.diff(self.times, prepend=self.times[:1])
        arrays: list[npt.NDArray[Any]] = [self.times[:1], gaps.astype(np.int64), self.forms, self.first]
        arrays += [self.rest[form] for form in sorted(self.rest)]
        return _HEAD.pack(n, k) + zlib.compress(b"".join(a.tobytes() for a in arrays), 1)


def encode(times: Times, values: Floats) -> Chunk:
    """A chunk of columns. values: shape (rows, columns), at least one column, with markers where there is no sample."""
    raw = bits(values)
    constant = (raw == raw[:, :1]).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.diff(values, axis=1)
        whole = ((values == np.floor(values)) & (np.abs(values) < _EXACT)).all(axis=1)
        whole &= ~((values == 0) & np.signbit(values)).any(axis=1)
        largest = np.abs(steps).max(axis=1, initial=0)
        short = (bits(values.astype(np.float32).astype(np.float64)) == raw).all(axis=1)
    forms = np.full(len(values), _FLOAT64, np.uint8)
    forms[short] = _FLOAT32
    for form, limit in ((_INT32, 2**31), (_INT16, 2**15), (_INT8, 2**7)):
        forms[whole & (largest < limit)] = form
    forms[constant] = _CONSTANT
    forms[constant & (raw[:, 0] == MISSING_BITS)] = _NONE
    rest = {}
    for form, kind in _TYPES.items():
        mine = forms == form
        if mine.any():
            rest[form] = (values if form in (_FLOAT32, _FLOAT64) else steps)[mine].astype(kind)
    return Chunk(times.copy(), forms, values[:, 0].copy(), _places(forms), rest)


def from_bytes(data: bytes | memoryview) -> Chunk:
    """The chunk that `to_bytes` wrote. Raises ValueError if the data are damaged."""
    try:
        n, k = _HEAD.unpack_from(data)
        body = zlib.decompress(data[_HEAD.size :])
        at = 0

        def take(kind: Any, *shape: int) -> npt.NDArray[Any]:
            nonlocal at
            count = int(np.prod(shape))
            out = np.frombuffer(body, kind, count, at).reshape(shape)
            at += out.nbytes
            return out

        start = take(np.int64, 1)
        times = start + np.cumsum(take(np.int64, k))
        forms, first = take(np.uint8, n), take(np.float64, n)
        rest = {}
        for form, kind in _TYPES.items():
            rows = int((forms == form).sum())
            if rows:
                rest[form] = take(kind, rows, k if form in (_FLOAT32, _FLOAT64) else k - 1)
    except (struct.error, zlib.error) as error:
        raise ValueError(f"damaged chunk: {error}") from None
    return Chunk(times, forms, first, _places(forms), rest)


def thinned(times: Times, values: Floats, period_ms: int) -> tuple[Times, Floats]:
    """The last column of each period, and in each of its cells the last sample or stale marker of the period."""
    periods = times // period_ms
    last = np.flatnonzero(np.append(periods[1:] != periods[:-1], True))
    filled = values.copy()
    for column in range(1, len(times)):  # the sample before fills what is missing, within a period
        if periods[column] == periods[column - 1]:
            absent = bits(filled[:, column]) == MISSING_BITS
            filled[absent, column] = filled[absent, column - 1]
    return times[last], filled[:, last]


def _places(forms: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    place = np.zeros(len(forms), np.int32)
    for form in _TYPES:
        mine = forms == form
        place[mine] = np.arange(int(mine.sum()), dtype=np.int32)
    return place
