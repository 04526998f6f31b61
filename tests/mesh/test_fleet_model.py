"""The model of `benchmarks fleet`: replicas by cores and memory, and what sharding saves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import fleet
from benchmarks.fleet import Costs, Fleet

COSTS = Costs(100.0, 0.01, 0.03, 0.001, 0.001, 0.0001, 0.01, 0.0001, 5.0, 0.1)
SMALL = Fleet(proxies=1_000, services=100, namespaces=10, seen=100)


def test_one_replica_carries_a_small_fleet() -> None:
    found = fleet.replicas(COSTS, SMALL)
    assert (found["replicas"], found["breaks_first"]) == (1, "")
    assert found["memory_mb"] == pytest.approx(100 + 1 + 30 + 10 * 100 * 0.001)
    changes = 1_000 * 0.01 / 60 + 6 / 60
    assert found["cores"] == pytest.approx(changes * (0.01 + 1_000 * 0.0001), abs=1e-3)
    assert found["last_ack_ms"] == pytest.approx(105)


def test_what_breaks_first_is_named() -> None:
    assert fleet.replicas(COSTS, replace(SMALL, proxies=200_000))["breaks_first"] == "cores"
    assert (
        fleet.replicas(COSTS, replace(SMALL, namespaces=50_000, proxies=50_000, churn=0))["breaks_first"] == "memory_mb"
    )
    assert fleet.replicas(COSTS, replace(SMALL, services=1_000_000), most=5)["replicas"] is None


def test_proxies_of_a_namespace_on_one_replica_save_views() -> None:
    many = replace(SMALL, proxies=100_000, namespaces=1_000)
    spread, sharded = (fleet.load(COSTS, replace(many, sharded=s), 10) for s in (False, True))
    assert sharded["memory_mb"] < spread["memory_mb"]
    assert sharded["cores"] == spread["cores"]


def test_a_line_through_points() -> None:
    assert fleet.line([(0, 1), (10, 3)]) == (1.0, pytest.approx(0.2))
    assert fleet.line([(0, 1), (10, 0)])[1] == 0.0
