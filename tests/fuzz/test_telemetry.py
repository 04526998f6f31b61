"""Pages, queries and remote writes: each is taken, or refused by its own kind of error."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.lib import access_log_lines
from sailcloth.telemetry import remote_write
from sailcloth.telemetry.exposition import ExpositionError, Metadata, parse
from sailcloth.telemetry.metrics.store import NewRow, Store
from sailcloth.telemetry.promql import evaluate, parsing, results
from sailcloth.telemetry.promql.errors import QueryError

from ..telemetry import queries
from . import fuzzed, mutated

LINE = (
    b'[2026-11-30T11:00:00.123Z] "GET /a?x=1 HTTP/1.1" 200 - via_upstream - "-" 0 437 12 11 "-" "agent" "id" "host:80" '
    b'"10.1.0.2:80" outbound|80||a.default.svc.cluster.local 10.1.0.1:1 10.1.0.2:80 10.1.0.1:2 - default'
)
PAGE = b'# HELP a What.\n# TYPE a counter\na{x="1",y="q\\"\\n"} 5 1700000000000\na{x="2"} NaN\nb 1e9\n'
WRITE = remote_write.encode(
    [({"__name__": "m", "job": "j"}, [(1000, 1.0), (2000, 2.0)]), ({"__name__": "n"}, [(1, 0.0)])]
)
WORDS = st.sampled_from(
    [
        "a",
        "b",
        "rate(",
        "sum",
        "by",
        "(x)",
        "[5m]",
        "[5m:1m]",
        "offset",
        "@",
        "1",
        "-1e999",
        "NaN",
        '"s"',
        "+",
        "^",
        "and",
        "on(",
        ")",
        "group_left",
        ",",
        "{x=~",
        "}",
        "`",
        "'",
        "#",
        "\x00",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(WORDS, max_size=12).map(" ".join),
    st.sampled_from(queries.written()).flatmap(lambda q: mutated(q.encode())).map(lambda b: b.decode(errors="replace")),
    st.integers(0, 10**6).map(lambda seed: queries.generated(1, seed)[0]),
)


def small_store() -> Store:
    store = Store()
    for t in range(2):
        target = store.target(str(t))
        for number in range(8):
            new = [NewRow(x, {"__name__": "ab"[x % 2], "x": str(x), "t": str(t), "le": "1"}, 1.0) for x in range(4)]
            store.append(
                target,
                1000 + number * 5000,
                range(4) if number else [],
                [float(number)] * (4 if number else 0),
                new if not number else [],
            )
    return store


STORE = small_store()


@fuzzed
@given(st.one_of(st.binary(max_size=200), mutated(PAGE)))
def test_pages(body: bytes) -> None:
    metadata = Metadata()
    with contextlib.suppress(ExpositionError):
        page = parse(body, {}, metadata)
        again = parse(body, {n.key: i for i, n in enumerate(page.new)}, metadata)
        assert len(again.rows) == len(again.values)
        assert len(again.rows) >= len(page.new)


@fuzzed
@given(TEXTS, st.sampled_from([[36_000], [0], [0, 20_000, 40_000]]))
def test_queries(text: str, at: list[int]) -> None:
    steps = np.array(at, np.int64)
    limits = evaluate.Limits(samples=100_000, cells=100_000, deadline=time.monotonic() + 20)
    with contextlib.suppress(QueryError):
        tree = parsing.parse(text)
        if type(tree).__name__ in ("MatrixSelector", "SubqueryExpr"):
            results.instant(evaluate.raw_samples(STORE, tree, at[0], limits), at[0])
            return
        value = evaluate.evaluate(STORE, tree, steps, limits)
        if not isinstance(value, str):
            results.over_range(value, steps)


@fuzzed
@given(st.one_of(st.binary(max_size=200), mutated(WRITE)))
def test_remote_writes(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        remote_write.receive(Store(), remote_write.decode(body))


@fuzzed
@given(st.one_of(mutated(LINE), mutated(orjson.dumps(access_log_lines.parse(LINE.decode())))))
def test_lines_of_access_logs(line: bytes) -> None:
    text = line.decode(errors="replace")
    summary, fields = access_log_lines.summary(text), access_log_lines.parse(text)
    if fields is not None:
        orjson.dumps(access_log_lines.request("default/pod", fields, {}))
    if summary is not None:
        assert summary.start_us < 1 << 62
        assert summary.status < 1000
        f"{summary.flags}{summary.request_id}{summary.peer}".encode()
