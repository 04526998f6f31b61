"""Reading Prometheus' answers to instant queries."""

from __future__ import annotations

import pytest

from sailcloth.analysis import traffic_graph


def test_a_scalar_is_one_sample_without_labels() -> None:
    answer = {"status": "success", "data": {"resultType": "scalar", "result": [1.5, "3"]}}
    assert traffic_graph.samples(answer) == [({}, 3.0)]


def test_ranges_of_values_are_refused_by_name() -> None:
    answer = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"]]}]}}
    with pytest.raises(ValueError, match="gives ranges of values"):
        traffic_graph.samples(answer)
