"""A Sidecar object from what Envoys have counted."""

from __future__ import annotations

import datetime as dt
import json

from sailcloth.cli.scope import suggestion

CLUSTERS = """\
outbound|9080||ratings.default.svc.cluster.local::observability_name::outbound|9080||ratings.default.svc.cluster.local;
outbound|9080||ratings.default.svc.cluster.local::10.42.0.9:9080::cx_total::2
outbound|9080||ratings.default.svc.cluster.local::10.42.0.9:9080::rq_total::17
outbound|9080|v1|reviews.default.svc.cluster.local::10.42.0.7:9080::rq_total::0
outbound|80||shop.other.svc.cluster.local::10.42.0.8:8080::rq_total::1
outbound|443||api.example.com::93.184.216.34:443::cx_total::3
inbound|9080||::10.42.0.3:9080::rq_total::5
"""
NOW = dt.datetime(2026, 1, 1, 12, 2, tzinfo=dt.UTC)


def ages(*moments: str) -> str:
    return json.dumps({"configs": [{"last_updated": f"2026-01-01T12:{m}Z"} for m in moments]})


AGES = ages("00:10.500", "00:30")


def test_what_was_called_is_named_and_nothing_else() -> None:
    made, notes = suggestion("default", "", {}, [(CLUSTERS, AGES)], NOW)
    assert made["metadata"] == {"name": "default", "namespace": "default"}
    (listener,) = made["spec"]["egress"]
    assert listener["hosts"] == [
        "*/api.example.com",
        "./ratings.default.svc.cluster.local",
        "other/shop.other.svc.cluster.local",
        "istio-system/*",
    ]
    assert "workloadSelector" not in made["spec"]
    (note,) = notes
    assert note.startswith("seen in 1 proxy; calls of more than 90 s ago may be missing")


def test_proxies_of_one_workload_are_joined_and_selected() -> None:
    other = "outbound|80||web.default.svc.cluster.local::10.42.0.8:8080::cx_total::1\n"
    made, notes = suggestion("default", "client", {"app": "client"}, [(CLUSTERS, AGES), (other, ages("01:53"))], NOW)
    assert made["metadata"]["name"] == "client"
    assert made["spec"]["workloadSelector"] == {"labels": {"app": "client"}}
    assert "./web.default.svc.cluster.local" in made["spec"]["egress"][0]["hosts"]
    assert "more than 7 s ago" in notes[0]


def test_calls_to_the_outside_and_no_calls_at_all_are_told() -> None:
    _, notes = suggestion("default", "", {}, [("PassthroughCluster::10.9.9.9:443::cx_total::4\n", ages())], NOW)
    assert any("nothing was called" in n for n in notes)
    assert any("outside the mesh" in n for n in notes)
