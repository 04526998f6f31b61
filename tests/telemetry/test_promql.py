"""PromQL on a handful of series, by numbers that can be checked by hand; `test_differential.py` has the rest where there is a Prometheus."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sailcloth.telemetry.metrics.store import NewRow, Store
from sailcloth.telemetry.promql import evaluate, parsing, results
from sailcloth.telemetry.promql.errors import BadQuery, QueryError
from sailcloth.telemetry.promql.numbers import plain, sample

SECOND = 1000
NOW = 300 * SECOND


@pytest.fixture(scope="module")
def store() -> Store:
    """Scrapes every 10 s until 300 s. `requests` of a and b grows by 10 and 20 each; that of b starts anew at 200 s; `temperature` is
    1, 2 and 4, its last one ends at 250 s."""
    one = Store()
    target = one.target("t")
    for at in range(0, 301, 10):
        values = {
            ("requests", "a"): at * 1.0,
            ("requests", "b"): (at if at < 200 else at - 200) * 2.0,
            ("temperature", "x"): 1.0,
            ("temperature", "y"): 2.0,
            ("temperature", "z"): 4.0,
            ("latency_bucket", "1"): at * 0.5,
            ("latency_bucket", "2"): at * 0.9,
            ("latency_bucket", "+Inf"): at * 1.0,
        }
        new, rows, numbers = [], [], []
        for number, ((name, label), value) in enumerate(values.items()):
            if label == "z" and at >= 250:
                continue
            if number in target.rows:
                rows.append(target.rows[number])
                numbers.append(value)
            else:
                labels = {"__name__": name, "le" if name == "latency_bucket" else "id": label}
                new.append(NewRow(number, labels, value))
        one.append(target, at * SECOND, rows, numbers, new)
    return one


def answer(store: Store, query: str, at: int = NOW) -> dict[str, float]:
    """Values by the labels' texts."""
    data = results.instant(evaluate.evaluate(store, parsing.parse(query), np.array([at])), at)
    if data["resultType"] == "scalar":
        return {"": float(data["result"][1])}
    return {",".join(row["metric"].values()): float(row["value"][1]) for row in data["result"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("temperature", {"temperature,x": 1, "temperature,y": 2}),
        ("temperature offset 1m", {"temperature,x": 1, "temperature,y": 2, "temperature,z": 4}),
        ("temperature @ 0 > 1", {"temperature,y": 2, "temperature,z": 4}),
        ("sum(temperature)", {"": 3}),
        ("count(temperature offset 2m) by (none)", {"": 3}),
        ("rate(requests[1m])", {"a": 1, "b": 2}),
        ("increase(requests[1m])", {"a": 60, "b": 120}),
        # 100 s to 200 s: 200 … 380, then 0; what is lost at the reset counts as 380 before it
        ("increase(requests{id='b'}[100s] offset 100s)", {"b": 180}),
        ("resets(requests[5m])", {"a": 0, "b": 1}),
        ("irate(requests[1m])", {"a": 1, "b": 2}),
        ("delta(temperature[1m])", {"x": 0, "y": 0}),
        ("deriv(requests{id='a'}[1m])", {"a": 1}),
        ("predict_linear(requests{id='a'}[1m], 100)", {"a": 400}),
        ("max_over_time(requests[1m])", {"a": 300, "b": 200}),
        ("avg_over_time(requests{id='a'}[20s])", {"a": 290}),
        ("count_over_time(temperature[100s])", {"x": 11, "y": 11, "z": 5}),
        ("stddev_over_time(requests{id='a'}[20s])", {"a": math.sqrt(200 / 3)}),
        ("quantile_over_time(0.5, requests{id='a'}[20s])", {"a": 290}),
        ("sum_over_time(rate(requests{id='a'}[30s])[1m:20s])", {"a": 4}),
        ("histogram_quantile(0.5, rate(latency_bucket[1m]))", {"": 1}),
        ("histogram_quantile(0.7, rate(latency_bucket[1m]))", {"": 1.5}),
        ("histogram_quantile(0.99, rate(latency_bucket[1m]))", {"": 2}),
        ("topk(1, temperature)", {"temperature,y": 2}),
        ("bottomk(1, temperature)", {"temperature,x": 1}),
        ("quantile(0.5, temperature)", {"": 1.5}),
        ('count_values("v", temperature)', {"1": 1, "2": 1}),
        ("stddev(temperature)", {"": 0.5}),
        ("requests / on (id) requests * 2", {"a": 2, "b": 2}),
        ("requests - ignoring (id) group_left () sum(temperature)", {"a": 297, "b": 197}),
        ("temperature and on (id) (temperature > 1)", {"temperature,y": 2}),
        ("temperature unless temperature == 2", {"temperature,x": 1}),
        ("temperature > 1 or requests > 250", {"temperature,y": 2, "requests,a": 300}),
        ("temperature > bool 1", {"x": 0, "y": 1}),
        ("1 + 2 * 3 ^ 2 % 5", {"": 4}),
        ("scalar(sum(temperature)) + 1", {"": 4}),
        ("time()", {"": 300}),
        ("timestamp(temperature offset 5s)", {"x": 290, "y": 290}),
        ("minute()", {"": 5}),
        ('label_replace(temperature, "n", "<$1>", "id", "(x)")', {"temperature,x,<x>": 1, "temperature,y": 2}),
        ('label_join(temperature, "n", "-", "id", "id")', {"temperature,x,x-x": 1, "temperature,y,y-y": 2}),
        ("absent(nothing{a='1',b=~'2'})", {"1": 1}),
        ("absent(temperature)", {}),
        ("clamp(temperature, 1.5, 1.8)", {"x": 1.5, "y": 1.8}),
        ("round(temperature / 3, 0.1)", {"x": 0.3, "y": 0.7}),
        ("temperature{id=~`x|\\w{3}`}", {"temperature,x": 1}),
        ("sum(nothing) or vector(7)", {"": 7}),
    ],
)
def test_queries(store: Store, query: str, expected: dict[str, float]) -> None:
    result = answer(store, query)
    assert result.keys() == expected.keys()
    assert result == pytest.approx(expected)


@pytest.mark.parametrize(
    ("query", "kind", "text"),
    [
        ("sum(", BadQuery, "parse error"),
        ("rate(temperature)", BadQuery, "matrix"),
        ("nofunction(x)", BadQuery, "nofunction"),
        ("info(temperature)", QueryError, "unsupported function: info"),
        ("limitk(1, temperature)", QueryError, "unsupported aggregation: limitk"),
        ("temperature{a='1' or b='2'}", BadQuery, "or"),
        ("temperature * on () requests", QueryError, "many-to-many"),
        ("temperature * on () sum(requests)", QueryError, "group_left"),
        ('label_replace(temperature, "id", "same", "id", ".*")', QueryError, "same labelset"),
        ('temperature{id=~"("}', BadQuery, "regex"),
    ],
)
def test_errors(store: Store, query: str, kind: type[QueryError], text: str) -> None:
    with pytest.raises(kind, match=text):
        answer(store, query)


def test_a_range_has_every_step(store: Store) -> None:
    steps = np.arange(240_000, 300_001, 30_000)
    data = results.over_range(evaluate.evaluate(store, parsing.parse("temperature{id='z'}"), steps), steps)
    assert data["result"] == [{"metric": {"__name__": "temperature", "id": "z"}, "values": [[240, "4"]]}]


@pytest.mark.parametrize(
    ("value", "short", "long"),
    [
        (1.0, "1", "1"),
        (0.1, "0.1", "0.1"),
        (1e-7, "1e-07", "0.0000001"),
        (1.5e-5, "0.000015", "0.000015"),
        (1e21, "1e+21", "1000000000000000000000"),
        (1e20, "100000000000000000000", "100000000000000000000"),
        (2**53 + 2.0, "9007199254740994", "9007199254740994"),
        (math.inf, "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf"),
        (math.nan, "NaN", "NaN"),
        (-0.0, "-0", "-0"),
    ],
)
def test_numbers(value: float, short: str, long: str) -> None:
    assert (sample(value), plain(value)) == (short, long)
