"""Kiali's rule of health: thresholds by protocol and direction, replicas, and annotations."""

from __future__ import annotations

import pytest

from sailcloth.analysis import health
from sailcloth.analysis.health import Replicas, Tolerance


@pytest.mark.parametrize(
    ("protocol", "codes", "status"),
    [
        ("http", {"200": 100.0}, "Healthy"),
        ("http", {"200": 99.9, "500": 0.1}, "Degraded"),
        ("http", {"200": 90.0, "503": 10.0}, "Failure"),
        ("http", {"200": 91.0, "404": 9.0}, "Healthy"),
        ("http", {"200": 90.0, "404": 10.0}, "Degraded"),
        ("http", {"200": 80.0, "404": 20.0}, "Failure"),
        ("http", {"200": 99.0, "-": 1.0}, "Degraded"),
        ("grpc", {"0": 100.0}, "Healthy"),
        ("grpc", {"0": 99.0, "14": 1.0}, "Degraded"),
        ("grpc", {"0": 90.0, "16": 10.0}, "Failure"),
        ("grpc", {"0": 90.0, "17": 10.0}, "Healthy"),  # no status of gRPC
        ("tcp", {"-": 10.0}, "NA"),
        ("http", {}, "NA"),
    ],
)
def test_the_default_thresholds(protocol: str, codes: dict[str, float], status: str) -> None:
    assert health.of_requests({protocol: codes}, {})[0] == status


def test_directions_and_protocols_are_never_pooled() -> None:
    """One outbound error among many inbound successes is still half of the outbound requests."""
    status, judgements = health.of_requests({"http": {"200": 1000.0}}, {"http": {"200": 1.0, "500": 1.0}})
    worst = judgements[0]
    assert status == "Failure"
    assert (worst.direction, worst.protocol, worst.tolerance.code, worst.share) == ("outbound", "http", "5XX", 50.0)


def test_requests_without_a_rule_are_healthy() -> None:
    only_grpc = (Tolerance("14", "grpc", 1, 2),)
    assert health.of_requests({"http": {"500": 1.0}}, {}, only_grpc)[0] == "Healthy"


@pytest.mark.parametrize(
    ("replicas", "status"),
    [
        (Replicas(0, 0, 0), "NotReady"),
        (Replicas(3, 2, 2), "Degraded"),
        (Replicas(3, 3, 2), "Degraded"),
        (Replicas(3, 3, 0), "Failure"),
        (Replicas(3, 0, 0), "Failure"),
        (Replicas(2, 3, 2), "Failure"),
        (Replicas(3, 3, 3, synced=2), "Degraded"),
        (Replicas(3, 3, 3, synced=3), "Healthy"),
        (Replicas(3, 3, 3), "Healthy"),
        (Replicas(2, 3, 3), "Degraded"),
    ],
)
def test_replicas(replicas: Replicas, status: str) -> None:
    assert replicas.status == status


def test_an_edge_is_as_bad_as_its_worse_end_sees_it() -> None:
    codes = {"200": 95.0, "500": 5.0}
    lenient = (Tolerance("5XX", "http", 10, 20),)
    assert health.of_edge("http", codes, lenient, lenient) == "Healthy"
    assert health.of_edge("http", codes, lenient) == "Degraded"
    assert health.of_edge("tcp", codes) == health.of_edge("http", {}) == "NA"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("4XX,20,30,http,inbound", (Tolerance("4XX", "http", 20, 30, "inbound"),)),
        ("4XX,20,30,http,.*;5XX,1,2,http,.*", (Tolerance("4XX", "http", 20, 30), Tolerance("5XX", "http", 1, 2))),
        ("4XX,30,20,http,.*", health.DEFAULT),  # degraded after failure
        ("4XX,20,30,http", health.DEFAULT),
        ("4XX,a,30,http,.*", health.DEFAULT),
        ("(,20,30,http,.*", health.DEFAULT),  # no expression
        ("", health.DEFAULT),
    ],
)
def test_annotations(annotation: str, expected: tuple[Tolerance, ...]) -> None:
    assert health.tolerances({health.ANNOTATION: annotation}) == expected


def test_the_worst_status_wins() -> None:
    assert health.worst(["Healthy", "Degraded", "NA"]) == "Degraded"
    assert health.worst([]) == "NA"
