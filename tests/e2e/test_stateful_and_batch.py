"""StatefulSets, DaemonSets, Jobs and CronJobs on a real node, in the mesh: names, claims, and sidecars that do not hold up the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .bookinfo import KUBECTL, Cluster, new_state

Object = dict[str, Any]
HTTPBIN = "docker.io/mccutchen/go-httpbin"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    with new_state() as state:
        running = Cluster(state)
        running.found = json.loads(running.sailctl("up", "--detach", "-o", "json"))
        running.kubectl("label", "namespace", "default", "istio-injection=enabled")
        yield running


def apply(cluster: Cluster, *objects: Object) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def workload(kind: str, name: str, group: str = "apps/v1", **spec: Any) -> Object:
    selector = {} if group == "batch/v1" else {"selector": {"matchLabels": {"app": name}}}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": {**selector, **spec}}


def template(name: str, *command: str, **spec: Any) -> Object:
    container: Object = {"name": "main", "image": HTTPBIN, "ports": [{"containerPort": 8080}]}
    if command:
        container = {"name": "main", "image": "curlimages/curl", "command": list(command)}
    container |= spec.pop("container", {})
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}}


def test_a_stateful_set_has_names_and_keeps_its_claims(cluster: Cluster) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    mounted = template("db", container={"volumeMounts": [{"name": "data", "mountPath": "/run/data"}]})
    service = {"selector": {"app": "db"}, "clusterIP": "None", "ports": [{"name": "http", "port": 8080}]}
    apply(
        cluster,
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": service},
        workload("StatefulSet", "db", serviceName="db", replicas=2, template=mounted, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": claim}]),
    )  # fmt: skip
    try:
        cluster.kubectl("rollout", "status", "statefulset/db", "--timeout=40s")
        assert cluster.kubectl("get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].metadata.name}").split() == [
            "db-0",
            "db-1",
        ]
        run = ("exec", "db-1", "-c", "main", "--")
        code = "import urllib.request as u;print(u.urlopen('http://db-0.db:8080/get').read().decode())"
        cluster.eventually(lambda: "db-0.db:8080" in cluster.kubectl(*run, "python3", "-c", code), 20)
        cluster.kubectl(*run, "sh", "-c", "echo kept > /run/data/file")
        assert "file" not in cluster.kubectl("exec", "db-0", "-c", "main", "--", "ls", "/run/data")
        cluster.kubectl("delete", "pod", "db-1", "--wait=true")
        cluster.eventually(lambda: "db-1" in cluster.kubectl("get", "pods", "-o", "name"))
        cluster.kubectl("wait", "--for=condition=Ready", "pod/db-1", "--timeout=30s")
        assert cluster.kubectl(*run, "cat", "/run/data/file") == "kept\n"
    finally:
        cluster.kubectl("delete", "statefulset/db", "service/db", "pvc/data-db-0", "pvc/data-db-1")


def test_a_daemon_set_has_one_pod(cluster: Cluster) -> None:
    apply(cluster, workload("DaemonSet", "agent", template=template("agent")))
    try:
        cluster.kubectl("rollout", "status", "daemonset/agent", "--timeout=30s")
        assert len(cluster.kubectl("get", "pods", "-l", "app=agent", "-o", "name").split()) == 1
    finally:
        cluster.kubectl("delete", "daemonset/agent")


def test_a_job_completes_although_it_has_a_sidecar(cluster: Cluster) -> None:
    apply(
        cluster,
        workload(
            "Job", "hello", "batch/v1", template=template("hello", "sh", "-c", "echo done", restartPolicy="Never")
        ),
    )
    try:
        cluster.kubectl("wait", "--for=condition=complete", "job/hello", "--timeout=30s")
        (pod,) = json.loads(cluster.kubectl("get", "pods", "-l", "job-name=hello", "-o", "json"))["items"]
        names = [c["name"] for c in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]]
        assert "istio-proxy" in names
        assert pod["status"]["phase"] == "Succeeded"
        assert "done" in cluster.kubectl("logs", "job/hello", "-c", "main")
    finally:
        cluster.kubectl("delete", "job/hello")


def test_a_job_whose_container_fails_is_failed(cluster: Cluster) -> None:
    failing = template("fails", "sh", "-c", "exit 3", restartPolicy="Never")
    apply(cluster, workload("Job", "fails", "batch/v1", backoffLimit=0, template=failing))
    try:
        cluster.kubectl("wait", "--for=condition=failed", "job/fails", "--timeout=30s")
    finally:
        cluster.kubectl("delete", "job/fails")


def test_a_job_by_hand_from_a_schedule(cluster: Cluster) -> None:
    made = {"spec": {"template": template("tick", "true", restartPolicy="Never")}}
    apply(cluster, workload("CronJob", "tick", "batch/v1", schedule="0 0 1 1 *", jobTemplate=made))
    try:
        cluster.kubectl("create", "job", "now", "--from=cronjob/tick")
        cluster.kubectl("wait", "--for=condition=complete", "job/now", "--timeout=30s")
    finally:
        cluster.kubectl("delete", "cronjob/tick")
        cluster.kubectl("delete", "job/now", "--ignore-not-found")
