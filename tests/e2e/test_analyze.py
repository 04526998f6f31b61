"""`sailctl analyze` over a running mesh, and over what a file would make of it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from .bookinfo import Cluster

RULE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews"},
    "spec": {
        "hosts": ["reviews"],
        "http": [{"route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 90},
            {"destination": {"host": "reviews", "subset": "gone"}, "weight": 10},
        ]}],
    },
}  # fmt: skip


def analyze(mesh: Cluster, *arguments: str, stdin: Any = None) -> tuple[int, set[tuple[str, str, str]]]:
    """(exit code, findings as code, object and reference)."""
    command = [*Cluster.SAILCTL, "analyze", "-o", "json", *arguments]
    text = json.dumps(stdin) if stdin is not None else None
    done = subprocess.run(
        command, capture_output=True, text=True, env=mesh.environment, timeout=60, check=False, input=text
    )
    found = json.loads(done.stdout)
    return done.returncode, {(f["code"], f["origin"], f.get("reference", "")) for f in found}


def test_a_file_over_the_cluster(mesh: Cluster) -> None:
    before, running = analyze(mesh, "-A")
    code, found = analyze(mesh, "-A", "-", stdin=RULE)
    assert code == 79
    assert {item for item in found - running if item[0] == "IST0101"} == {
        ("IST0101", "VirtualService default/reviews", "-:1")
    }
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(RULE))
    assert ("IST0101", "VirtualService default/reviews", "") in analyze(mesh, "-n", "default")[1]
    assert not any(origin.endswith("default/reviews") for _, origin, _ in analyze(mesh, "-n", "istio-system")[1])
    mesh.kubectl("delete", "vs", "reviews")
    assert analyze(mesh, "-A") == (before, running)


def test_a_namespace_that_does_not_exist(mesh: Cluster) -> None:
    done = subprocess.run(
        [*Cluster.SAILCTL, "analyze", "-n", "nosuch"],
        capture_output=True,
        text=True,
        env=mesh.environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert 'namespaces "nosuch" not found' in done.stderr


def test_findings_are_in_the_status_and_in_events(mesh: Cluster) -> None:
    """Without anybody asking: the control plane analyzes what a change concerns."""
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(RULE))
    mesh.kubectl("wait", "vs/reviews", "--for=condition=PassedAnalysis=False", "--timeout=10s")
    status = json.loads(mesh.kubectl("get", "vs", "reviews", "-o", "json"))["status"]
    found = {(m["type"]["code"], m["path"]) for m in status["validationMessages"]}
    assert found == {("IST0101", "spec.http[0].route[1].destination.subset")}

    def recorded() -> bool:
        return "ReferencedResourceNotFound" in mesh.kubectl("describe", "vs", "reviews")

    mesh.eventually(recorded)
    route = {"destination": {"host": "reviews", "subset": "v1"}}
    fixed = {**RULE, "spec": {"hosts": ["reviews"], "http": [{"route": [route]}]}}
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(fixed))
    mesh.kubectl("wait", "vs/reviews", "--for=condition=PassedAnalysis", "--timeout=10s")
    status = json.loads(mesh.kubectl("get", "vs", "reviews", "-o", "json"))["status"]
    assert status["validationMessages"] == []


def test_a_change_is_shown_before_it_is_made_and_undone_after(mesh: Cluster) -> None:
    route = {"destination": {"host": "reviews", "subset": "v1"}}
    rule = {**RULE, "spec": {"hosts": ["reviews"], "http": [{"route": [route]}]}}
    command = [*Cluster.SAILCTL, "x", "diff", "-f", "-", "-o", "json"]

    def diff(*arguments: str) -> tuple[int, Any]:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            env=mesh.environment,
            timeout=60,
            check=False,
            input=json.dumps(rule),
        )
        return done.returncode, json.loads(done.stdout)

    mesh.get("/productpage")

    def logged() -> bool:
        return any(r["url"] == "reviews:9080/reviews/0" for r in diff()[1]["requests"])

    mesh.eventually(logged)
    code, found = diff()
    assert code == 1
    assert found["objects"] == [{"object": "VirtualService default/reviews", "change": "created", "fields": []}]
    (effect,) = found["effects"]
    assert effect["text"] == "reviews.default:9080: all requests move from all its versions to v1"
    assert len(effect["proxies"]) == 6
    assert mesh.kubectl("get", "vs", "reviews", "--ignore-not-found") == ""

    mesh.apply(rule)
    assert diff()[0] == 0
    assert mesh.sailctl("x", "undo", "-y") == "VirtualService default/reviews deleted\n"
    assert mesh.kubectl("get", "vs", "reviews", "--ignore-not-found") == ""
    assert mesh.sailctl("x", "undo", "-y") == "VirtualService default/reviews created\n"
    before = mesh.kubectl("get", "vs", "reviews", "-o", "jsonpath={.spec}{.metadata.annotations}")
    rule["spec"]["http"][0]["timeout"] = "3s"  # type: ignore[index]
    mesh.apply(rule)
    assert diff("--delete")[1]["effects"]
    assert mesh.sailctl("x", "undo", "vs/reviews", "-y") == "VirtualService default/reviews restored\n"
    assert mesh.kubectl("get", "vs", "reviews", "-o", "jsonpath={.spec}{.metadata.annotations}") == before
