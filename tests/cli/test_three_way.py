"""What an apply makes of an object that exists, and how `x diff` places an object among the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.analysis.analyzers import document
from sailcloth.cli import diff, three_way
from sailcloth.cli.cluster import LAST_APPLIED, as_kubectl

Object = dict[str, Any]


def live(spec: Object, last: Object | None = None, **metadata: Any) -> Object:
    notes = {LAST_APPLIED: json.dumps({"spec": last})} if last is not None else {}
    return {"metadata": {"name": "a", "annotations": notes, **metadata}, "spec": spec}


CASES: dict[str, tuple[Object, Object | None, Object, Object]] = {
    "what the API server has added stays": (
        {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
        {"ports": [{"port": 80}]},
        {"ports": [{"port": 80}]},
        {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
    ),
    "what the last apply wrote is removed": ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}, {"b": {}}, {"b": {}}),
    "what others wrote stays": ({"a": 1, "b": {"c": 2}}, {"b": {}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
    "lists are replaced": ({"http": [{"a": 1, "b": 2}]}, None, {"http": [{"a": 1}]}, {"http": [{"a": 1}]}),
    "null removes": ({"a": 1}, None, {"a": None}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_merge(name: str) -> None:
    spec, last, written, expected = CASES[name]
    assert three_way.applied(live(spec, last), {"spec": written})["spec"] == expected


def test_labels_and_annotations_of_others_stay() -> None:
    written = {"metadata": {"name": "a", "labels": {"new": "1"}, "annotations": None}}
    result = three_way.applied(live({}, {}, labels={"old": "1"}), written)["metadata"]
    assert result["labels"] == {"old": "1", "new": "1"}
    assert LAST_APPLIED in result["annotations"]


def test_null_annotations_are_none() -> None:
    assert LAST_APPLIED in as_kubectl({"metadata": {"name": "a", "annotations": None}})["metadata"]["annotations"]


def test_a_new_object_is_the_youngest_and_a_known_one_keeps_its_age() -> None:
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": {}}
    old = {**rule, "metadata": {"name": "a", "namespace": "default", "creationTimestamp": "2020-01-01T00:00:00Z"}}
    known = diff._applied(document(rule), [document(old)])
    assert known.body["metadata"]["creationTimestamp"] == "2020-01-01T00:00:00Z"
    assert diff._applied(document(rule), []).body["metadata"]["creationTimestamp"] > "2026"


@pytest.mark.parametrize("metadata", [None, [], {}, {"generateName": "a-"}, {"name": ["a"]}])
def test_an_object_without_a_name_is_refused(metadata: Any) -> None:
    with pytest.raises(ValueError, match=r"metadata\.name is missing"):
        diff._applied(document({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata}), [])


def test_a_change_of_annotations_is_a_change() -> None:
    notes = {"networking.istio.io/exportTo": ".", LAST_APPLIED: "x"}
    old, new = ({"metadata": {"annotations": each}, "spec": {}} for each in ({}, notes))
    fields = list(diff._fields(diff._written(old), diff._written(new)))
    assert fields == ["metadata.annotations.networking.istio.io/exportTo"]
