"""A pod runs on the real node, and answers by its Service."""

from __future__ import annotations

import json

from .node import WEB, Node

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "web",
                "image": WEB,
                "imagePullPolicy": "Never",
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            }
        ],
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


def test_a_pod_answers_by_its_service(kubernetes: Node) -> None:
    plane = kubernetes.control_plane
    with plane.namespace() as namespace:
        objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [POD, SERVICE]})
        plane.kubectl("apply", "-n", namespace, "-f", "-", input=objects)
        plane.kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s", "pod/web")
        address = plane.get("-n", namespace, "service/web")["spec"]["clusterIP"]
        kubernetes.wait_for_answer(f"http://{address}/", "pod web\n")
