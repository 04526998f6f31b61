"""Whatever comes from the network is refused or read, and never ends in anything else. `SAILCLOTH_FUZZ=100` tries a hundred times as much."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("SAILCLOTH_FUZZ", "1"))
fuzzed = settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20), st.just("\ud800")
)
KEYS = st.one_of(st.text(max_size=8), st.just("spec"), st.just("metadata"))
JSON = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(KEYS, v, max_size=4)), max_leaves=12
)


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """A valid message in which some bytes are others, left out, or doubled."""
    place = st.integers(0, max(0, len(valid) - 1))
    edit = st.tuples(place, st.integers(0, 6), st.binary(max_size=6))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        out = valid
        for at, left_out, put in edits:
            out = out[:at] + put + out[at + left_out :]
        return out

    return st.lists(edit, min_size=1, max_size=5).map(apply)


def replaced(valid: object) -> st.SearchStrategy[object]:
    """A valid JSON value in which one part is any other."""
    places = list(_places(valid))

    def put(place: tuple[object, ...], new: object) -> object:
        return _with(valid, place, new)

    return st.builds(put, st.sampled_from(places), JSON)


def _places(value: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        found += _places(each, (*at, key))
    return found


def _with(value: object, place: tuple[object, ...], new: object) -> object:
    if not place:
        return new
    key, rest = place[0], place[1:]
    if isinstance(value, dict):
        return {**value, key: _with(value[key], rest, new)}
    assert isinstance(value, list)
    return [_with(each, rest, new) if index == key else each for index, each in enumerate(value)]
