"""A running control plane finds about single objects what a command finds, and evaluates only what a change concerns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.analysis import manifests
from sailcloth.analysis.analyzers import ANALYZERS, Each, ObjectSet, defaults, document, live
from sailcloth.api.meta import Finding, Key
from sailcloth.mesh import registry

OWN: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("analyzers.yaml").read_text())
CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases"))

# What a control plane does not read, so that a command may know more: templates without pods, entries to come, Kubernetes' Gateways.
UNREAD = {
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "CronJob",
    "ReplicationController",
    "WorkloadGroup",
}


def _objects(text: str) -> list[dict[str, Any]]:
    read = [d for d in manifests.documents(text) if d.get("kind") not in UNREAD]
    return [d for d in read if not (d.get("kind") == "Gateway" and "gateway.networking.k8s.io" in d["apiVersion"])]


def _published() -> Iterator[Any]:
    path = CASES / "analyze.json"
    for case in json.loads(path.read_text())["cases"] if path.exists() else ():
        yield pytest.param("\n---\n".join(part["text"] for part in case["inputs"]), id=case["name"])


@pytest.mark.parametrize("text", [*(pytest.param(c["objects"], id=c["name"]) for c in OWN), *_published()])
def test_a_control_plane_finds_what_a_command_finds(text: str) -> None:
    documents = [*defaults.documents(), *(document(body) for body in _objects(text))]
    mesh, typed = registry.Mesh(), set[Key]()
    valid = []
    for one in {(d.group, *d.key): d for d in documents}.values():
        parsed = manifests.typed(
            {**one.body, "metadata": {**one.body.get("metadata", {}), "namespace": one.key.namespace}}
        )
        if parsed is not None and not isinstance(parsed, Finding):
            mesh.apply(*parsed)
            typed.add(parsed[0])
            valid.append(one)
    checks = [a.check for a in ANALYZERS if isinstance(a.check, Each)]
    command = {f for check in checks for f in check(ObjectSet(valid)) if f.resource in typed & mesh.objects.keys()}
    command = {f for f in command if "unknown field" not in f.text}  # of which nothing is left in a typed object
    running = {f for key in typed for f in mesh.graph.get(live.findings, key)}
    assert running == command


def _apply(mesh: registry.Mesh, text: str) -> None:
    for body in manifests.documents(text):
        parsed = manifests.typed(body)
        assert parsed is not None
        assert not isinstance(parsed, Finding)
        mesh.apply(*parsed)


def _codes(mesh: registry.Mesh, key: Key) -> list[str]:
    return [f.code for f in mesh.graph.get(live.findings, key)]


ROUTE = """
{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: default}, spec: {selector: {app: reviews}, ports: [{port: 80}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews, namespace: default},
 spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}}
"""
RULE = """
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews, namespace: default},
 spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}}
"""
POLICY = """
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a, namespace: default},
 spec: {selector: {matchLabels: {app: a}}}}
"""


def test_a_finding_goes_when_its_cause_does() -> None:
    mesh, key = registry.Mesh(), Key("VirtualService", "default", "reviews")
    _apply(mesh, ROUTE)
    assert _codes(mesh, key) == ["IST0101"]
    _apply(mesh, RULE)
    assert _codes(mesh, key) == []
    assert _codes(mesh, Key("DestinationRule", "default", "reviews")) == ["IST0173"]


def test_more_pods_of_a_workload_evaluate_nothing() -> None:
    mesh, key = registry.Mesh(), Key("AuthorizationPolicy", "default", "a")
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: default, labels: {app: %s}}, spec: {}}"
    _apply(mesh, POLICY)
    mesh.graph.watch(live.findings, key)
    mesh.graph.touched()
    assert _codes(mesh, key) == ["IST0127"]
    _apply(mesh, pod % ("one", "a"))
    assert (live.findings, (key,)) in mesh.graph.touched()
    assert _codes(mesh, key) == []
    _apply(mesh, pod % ("two", "a"))
    assert (live.findings, (key,)) not in mesh.graph.touched()
    mesh.apply(Key("Pod", "default", "one"), None)
    mesh.apply(Key("Pod", "default", "two"), None)
    assert _codes(mesh, key) == ["IST0127"]
