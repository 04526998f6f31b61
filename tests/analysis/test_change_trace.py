"""A change as a trace."""

from __future__ import annotations

import orjson

from sailcloth.analysis import change_trace
from sailcloth.analysis.change_trace import Row, Write
from sailcloth.telemetry.traces import otlp

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROW: Row = {
    "number": 7,
    "received": 1000.010,
    "objects": [{"kind": "VirtualService", "namespace": "default", "name": "reviews", "generation": 2}],
    "computedMs": 2.0,
    "answers": [
        {"proxy": "slow.default", "type": "CDS", "ms": 5.0, "complete": False, "error": ""},
        {"proxy": "fast.default", "type": "RDS", "ms": 6.0, "complete": True, "error": ""},
        {"proxy": "slow.default", "type": "RDS", "ms": 9.0, "complete": False, "error": "no such cluster"},
    ],
    "waiting": ["late.default"],
}
WRITE = Write("apply virtualservice/reviews", 1000.0, 1000.012)


def test_a_trace_holds_the_write_the_work_and_every_proxy() -> None:
    spans = change_trace.spans(ROW, [WRITE])
    assert [(s.service, s.name, s.parent) for s in spans] == [
        ("sailctl", "change VirtualService default/reviews", None),
        ("sailctl", "apply virtualservice/reviews", 0),
        ("istiod", "validate and compute", 0),
        ("istiod", "deliver", 0),
        ("istiod", "fast.default", 3),
        ("istiod", "slow.default", 3),
    ]
    whole, slow = spans[0], spans[-1]
    assert (whole.start, round(whole.end, 6), whole.error) == (1000.0, 1000.019, "no such cluster")
    assert (round(slow.start, 6), round(slow.end, 6), slow.error) == (1000.012, 1000.019, "no such cluster")
    assert [text for _, text in slow.events] == ["CDS acknowledged", "RDS refused"]


def test_without_writes_the_trace_begins_with_the_watch_event() -> None:
    whole, *_ = change_trace.spans(ROW)
    assert (whole.service, whole.start) == ("istiod", 1000.010)


def test_our_own_collector_reads_it() -> None:
    spans = otlp.read_json(orjson.dumps(change_trace.otlp(change_trace.spans(ROW, [WRITE]), TRACE)))
    assert {s.trace for s in spans} == {TRACE}
    by_service = {(s.service, s.name): s for s in spans}
    root = by_service["sailctl", "change VirtualService default/reviews"]
    deliver = by_service["istiod", "deliver"]
    assert (root.parent, deliver.parent) == ("", root.id)
    assert by_service["istiod", "slow.default"].parent == deliver.id
    assert by_service["istiod", "slow.default"].error
    assert root.duration_us == 19_000


def test_the_waterfall_is_in_the_time_of_the_whole() -> None:
    rows = change_trace.waterfall(change_trace.spans(ROW, [WRITE]))
    assert rows[0][1:3] == ("0.0ms", "19.0ms")
    assert [len(bar) <= 40 for *_, bar in rows] == [True] * 6
    what, start, time, bar = rows[-1]
    assert what == "    slow.default CDS RDS: no such cluster"
    assert (start, time) == ("12.0ms", "7.0ms")
    assert (len(bar) - len(bar.lstrip()), len(bar)) == (25, 40)


def test_a_line_names_what_is_wrong_first() -> None:
    assert change_trace.summary(ROW) == (
        "VirtualService default/reviews",
        "2.0ms",
        "1/3",
        "9.0ms",
        "slow.default: no such cluster",
    )
    waiting = {**ROW, "answers": ROW["answers"][1:2]}
    assert change_trace.summary(waiting)[2:] == ("1/2", "6.0ms", "waiting for late.default")
    assert change_trace.summary({**ROW, "answers": [], "waiting": []})[2:] == ("0/0", "-", "-")
