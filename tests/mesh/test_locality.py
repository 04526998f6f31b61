"""Which endpoints a caller prefers by where they are: a table of settings, and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.mesh.model import Endpoint
from sailcloth.view import locality
from sailcloth.view.locality import LocalityPlan

PLACES = ("eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "asia/a/1")
ENDPOINTS = tuple(Endpoint(p, 80, locality=p, labels=(("version", p[-1]),)) for p in PLACES)


def shown(found: LocalityPlan | None) -> dict[str, tuple[int, int]]:
    """Locality → (priority, weight)."""
    return {g.locality: (g.priority, g.weight) for g in locality.groups(found, ENDPOINTS)}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, dict.fromkeys(PLACES, (0, 1))),
        (
            LocalityPlan("eu/a/1"),
            {"eu/a/1": (0, 1), "eu/a/2": (1, 1), "eu/b/1": (2, 1), "us/a/1": (3, 1), "asia/a/1": (3, 1)},
        ),
        (
            LocalityPlan("eu/a/1", regions=(("eu", "us"),)),
            {"eu/a/1": (0, 1), "eu/a/2": (1, 1), "eu/b/1": (2, 1), "us/a/1": (3, 1), "asia/a/1": (4, 1)},
        ),
        (
            LocalityPlan("africa/a/1"),  # priorities have no gaps
            dict.fromkeys(PLACES, (0, 1)),
        ),
        (
            LocalityPlan("eu/a/1", shares=(("eu/*", 80), ("us/a/*", 20))),
            {"eu/a/1": (0, 27), "eu/a/2": (0, 27), "eu/b/1": (0, 27), "us/a/1": (0, 20)},
        ),
        (
            LocalityPlan("eu/a/1", shares=(("eu/*", 30), ("eu/a/1", 70))),
            {"eu/a/1": (0, 70), "eu/a/2": (0, 15), "eu/b/1": (0, 15)},
        ),
        (
            LocalityPlan("eu/a/1", labels=(("version", "1"), ("topology.kubernetes.io/region", "us"))),
            {"us/a/1": (0, 1), "eu/a/1": (1, 1), "eu/b/1": (1, 1), "asia/a/1": (1, 1), "eu/a/2": (2, 1)},
        ),
    ],
)
def test_preferences(found: LocalityPlan | None, expected: dict[str, tuple[int, int]]) -> None:
    assert shown(found) == expected


@given(
    st.lists(st.sampled_from(["", "eu", "eu/a", "eu/a/1", "us/b/2", "asia"]), max_size=12),
    st.sampled_from(["eu/a/1", "us", "moon"]),
    st.dictionaries(st.sampled_from(["eu", "us"]), st.sampled_from(["eu", "us", "asia"])),
)
def test_every_endpoint_is_in_one_group_and_priorities_have_no_gaps(
    places: list[str], origin: str, regions: dict[str, str]
) -> None:
    endpoints = tuple(Endpoint(str(i), 80, locality=p) for i, p in enumerate(places))
    made = locality.groups(LocalityPlan(origin, regions=tuple(sorted(regions.items()))), endpoints)
    assert sorted(i for g in made for i in g.members) == list(range(len(places)))
    levels = {g.priority for g in made}
    assert levels == set(range(len(levels)))
    assert all(g.weight >= 1 for g in made)
