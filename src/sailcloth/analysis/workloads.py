"""The pods that manifests would have in a cluster, one for each workload, and the endpoints of their Services. For commands without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sailcloth.mesh.endpoints import TLS_MODE

Object = dict[str, Any]
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job")
_PROXY = {"name": "istio-proxy"}


def pods(documents: Iterable[Object], namespace: str = "default") -> list[Object]:
    """A running pod for each workload and Pod, by its name. It has a sidecar unless it is a gateway, has one already, or opts out; the
    labels of its namespace are not looked at."""
    made: list[Object] = []
    for document in documents:
        kind, metadata = document.get("kind"), _object(document, "metadata")
        template = document if kind == "Pod" else _object(_object(document, "spec"), "template")
        if kind not in (*_WORKLOADS, "Pod") or not isinstance(template.get("spec"), dict):
            continue
        labels = {str(k): str(v) for k, v in _object(_object(template, "metadata"), "labels").items()}
        annotations = {str(k): str(v) for k, v in _object(_object(template, "metadata"), "annotations").items()}
        containers = list(template["spec"].get("containers") or ())
        if annotations.get("inject.istio.io/templates") == "gateway":
            containers = [{**_PROXY, "args": ["proxy", "router"]}]
        injected = {**annotations, **labels}.get("sidecar.istio.io/inject", "true").lower() != "false"
        if injected and not any(c.get("name") == "istio-proxy" for c in containers):
            containers, labels = [*containers, {**_PROXY, "args": ["proxy", "sidecar"]}], {**labels, TLS_MODE: "istio"}
        made.append(
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
                "status": {"phase": "Running", "podIP": f"192.0.2.{len(made) + 1}"},
            }
        )
    return made


def endpoint_slices(
    documents: Iterable[Object], made: Iterable[Object], namespace: str = "default"
) -> Iterator[Object]:
    """The EndpointSlices of the Services among the documents, with those of the pods that they select."""
    running = list(made)
    for document in documents:
        metadata, spec = _object(document, "metadata"), _object(document, "spec")
        if document.get("kind") != "Service" or not spec.get("selector"):
            continue
        own = str(metadata.get("namespace") or namespace)
        selected = [
            pod
            for pod in running
            if pod["metadata"]["namespace"] == own and spec["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        for port in spec.get("ports") or ():
            name = str(port.get("name") or "")
            for index, pod in enumerate(selected):
                number = _number(port.get("targetPort") or port.get("port"), pod)
                yield {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{metadata.get('name')}-{name or port.get('port')}-{index}",
                        "namespace": own,
                        "labels": {"kubernetes.io/service-name": str(metadata.get("name"))},
                    },
                    "addressType": "IPv4",
                    "ports": [{"name": name, "port": number, "protocol": port.get("protocol") or "TCP"}],
                    "endpoints": [{"addresses": [pod["status"]["podIP"]], "conditions": {"ready": True}}]
                    if number
                    else [],
                }


def _number(target: Any, pod: Object) -> int:
    """A port of the pod by number or name; 0 if it has none of that name."""
    if isinstance(target, int):
        return target
    declared = (p for c in pod["spec"]["containers"] for p in c.get("ports") or ())
    return next((int(p["containerPort"]) for p in declared if p.get("name") == target), 0)


def _object(value: Object, name: str) -> Object:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}
