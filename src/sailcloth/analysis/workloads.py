"""Pods and EndpointSlices that a cluster would create for some manifests, one pod for each workload. For commands without a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sailcloth.mesh.endpoints import TLS_MODE

Object = dict[str, Any]
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob")
"""The kinds with a pod template."""
_PROXY = {"name": "istio-proxy"}


def pods(documents: Iterable[Object], namespace: str = "default") -> list[Object]:
    """A running pod for each workload and Pod, with its name. It gets a sidecar unless it is a gateway, has one, or opts out;
    labels of namespaces have no effect."""
    running: list[Object] = []
    for document in documents:
        kind, metadata = document.get("kind"), _object(document, "metadata")
        template = document if kind == "Pod" else pod_template(document)[1]
        if kind not in (*KINDS, "Pod") or kind == "CronJob" or not isinstance(template.get("spec"), dict):
            continue
        labels = {str(k): str(v) for k, v in _object(_object(template, "metadata"), "labels").items()}
        annotations = {str(k): str(v) for k, v in _object(_object(template, "metadata"), "annotations").items()}
        containers = list(template["spec"].get("containers") or ())
        if annotations.get("inject.istio.io/templates") == "gateway":
            containers = [{**_PROXY, "args": ["proxy", "router"]}]
        injected = {**annotations, **labels}.get("sidecar.istio.io/inject", "true").lower() != "false"
        if injected and not any(c.get("name") == "istio-proxy" for c in containers):
            containers, labels = [*containers, {**_PROXY, "args": ["proxy", "sidecar"]}], {**labels, TLS_MODE: "istio"}
        running.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": str(metadata.get("name") or ""),
                    "namespace": str(metadata.get("namespace") or namespace),
                    "labels": labels,
                    "annotations": annotations,
                },
                "spec": {**template["spec"], "containers": containers},
                "status": {"phase": "Running", "podIP": f"192.0.2.{len(running) + 1}"},
            }
        )
    return running


def endpoint_slices(
    documents: Iterable[Object], pods: Sequence[Object], namespace: str = "default"
) -> Iterator[Object]:
    """EndpointSlices of the Services among the documents, with the pods that they select."""
    for document in documents:
        metadata, spec = _object(document, "metadata"), _object(document, "spec")
        if document.get("kind") != "Service" or not spec.get("selector"):
            continue
        service_namespace = str(metadata.get("namespace") or namespace)
        selected = [
            pod
            for pod in pods
            if pod["metadata"]["namespace"] == service_namespace
            and spec["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        for port in spec.get("ports") or ():
            name = str(port.get("name") or "")
            for index, pod in enumerate(selected):
                number = _port_number(port.get("targetPort") or port.get("port"), pod)
                yield {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{metadata.get('name')}-{name or port.get('port')}-{index}",
                        "namespace": service_namespace,
                        "labels": {"kubernetes.io/service-name": str(metadata.get("name"))},
                    },
                    "addressType": "IPv4",
                    "ports": [{"name": name, "port": number, "protocol": port.get("protocol") or "TCP"}],
                    "endpoints": [{"addresses": [pod["status"]["podIP"]], "conditions": {"ready": True}}]
                    if number
                    else [],
                }


def _port_number(target: Any, pod: Object) -> int:
    """A port of the pod by number or name; 0 for an unknown name."""
    if isinstance(target, int):
        return target
    declared = (p for c in pod["spec"]["containers"] for p in c.get("ports") or ())
    return next((int(p["containerPort"]) for p in declared if p.get("name") == target), 0)


def pod_template(workload: Object) -> tuple[str, Object]:
    """(path, pod template) of a workload; empty if it has none."""
    spec = _object(workload, "spec")
    if workload.get("kind") == "CronJob":
        return "spec.jobTemplate.spec.template", _object(_object(_object(spec, "jobTemplate"), "spec"), "template")
    return "spec.template", _object(spec, "template")


def _object(value: Object, name: str) -> Object:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}
