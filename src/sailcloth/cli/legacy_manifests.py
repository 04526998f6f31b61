"""`sailctl convert-ingress` and `x kube-uninject`: manifests in, manifests out, without a cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import output

Object = dict[str, Any]
File = Annotated[str, typer.Option("-f", "--filename", help="Manifest; - for standard input.")]
Out = Annotated[str, typer.Option("-o", "--output", help="Where to write; default standard output.")]
_OWN = ("istio.io/", "sidecar.istio.io/status", "proxy.istio.io/overrides", "kubectl.kubernetes.io/default-")
_METRICS = ("scrape", "path", "port")
_LABELS = ("security.istio.io/tlsMode", "service.istio.io/canonical-name", "service.istio.io/canonical-revision")


def _documents(file: str) -> list[Object]:
    from . import legacy_objects

    return legacy_objects.documents([file])


def _print(objects: list[Object], out: str) -> None:
    import yaml

    text = yaml.safe_dump_all(objects, sort_keys=False, width=1000)
    if out:
        Path(out).write_text(text)
    else:
        sys.stdout.write(text)


def convert_ingress(file: File, out: Out = "") -> None:
    """Write the Gateways and VirtualServices that stand for the Ingresses of a manifest."""
    import msgspec

    from sailcloth.analysis import manifests
    from sailcloth.api import core
    from sailcloth.api.meta import Finding
    from sailcloth.mesh import ingress

    found = []
    numbers: dict[tuple[str, str, str], int] = {}
    for obj in _documents(file):
        parsed = manifests.typed(obj)
        if isinstance(parsed, Finding):
            output.fail(f"{file}: {parsed}", output.DATA)
        if parsed is None:
            continue
        key, value = parsed
        if isinstance(value, core.Ingress):
            found.append((key, value))
        elif isinstance(value, core.Service):
            numbers |= {(key.namespace, key.name, p.name): p.port for p in value.spec.ports}
    if not found:
        output.fail(f"{file}: no Ingress (networking.k8s.io/v1) in it", output.DATA)
    made = ingress.convert(found, "istio-system", "cluster.local", lambda *port: numbers.get(port, 0))
    version = "networking.istio.io/v1"
    objects = [{"apiVersion": version, "kind": k.kind, **msgspec.to_builtins(o)} for k, o in made.items()]
    for obj in objects:
        obj["metadata"].pop("creationTimestamp", None)
    _print(objects, out)


def kube_uninject(file: File, out: Out = "") -> None:
    """Take the sidecar out of the pods and pod templates of a manifest, as `kube-inject` put it in."""
    _print([uninjected(obj) for obj in _documents(file)], out)


def uninjected(obj: Object) -> Object:
    """The object without the sidecar of its pod or pod template; others as they are."""
    if obj.get("kind") == "Pod":
        return _pod(obj)
    spec = obj.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("template"), dict):
        return {**obj, "spec": {**spec, "template": _pod(spec["template"])}}
    if isinstance(spec, dict) and isinstance(spec.get("jobTemplate"), dict):
        return {**obj, "spec": {**spec, "jobTemplate": uninjected(spec["jobTemplate"])}}
    return obj


def _pod(pod: Object) -> Object:
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    annotations = dict(metadata.get("annotations") or {})
    if "sidecar.istio.io/status" not in annotations:
        return pod
    status = json.loads(annotations["sidecar.istio.io/status"])
    probers = _variable(spec, "ISTIO_KUBE_APP_PROBERS")
    metrics = _variable(spec, "ISTIO_PROMETHEUS_ANNOTATIONS")
    for field in ("initContainers", "containers", "volumes"):
        names = set(status.get(field) or ())
        left = [entry for entry in spec.get(field) or () if entry.get("name") not in names]
        spec[field] = [_restored(c, probers) for c in left] if field != "volumes" else left
        if not left:
            del spec[field]
    kept = {k: v for k, v in annotations.items() if not k.startswith(_OWN) and not _metrics(k, v)}
    metadata["annotations"] = kept | {f"prometheus.io/{k}": str(v) for k, v in metrics.items() if v and k in _METRICS}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in _LABELS}
    for field, value in (("annotations", metadata["annotations"]), ("labels", labels)):
        if value:
            metadata[field] = value
        else:
            metadata.pop(field, None)
    return {**pod, "metadata": metadata, "spec": spec}


def _metrics(name: str, value: str) -> bool:
    """Whether an annotation says that metrics are the agent's."""
    return (name, str(value)) in (
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "15020"),
        ("prometheus.io/path", "/stats/prometheus"),
    )


def _variable(spec: Object, name: str) -> Object:
    """What injection has put into an environment variable of the proxy: probes by their paths at the agent, or annotations."""
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for variable in container.get("env") or ():
            if variable.get("name") == name:
                return dict(json.loads(variable.get("value") or "{}"))
    return {}


def _restored(container: Object, probers: Object) -> Object:
    """A container with its own probes."""
    out = dict(container)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        path = ((out.get(name) or {}).get("httpGet") or {}).get("path", "")
        if path in probers:
            rest = {k: v for k, v in out[name].items() if k != "httpGet"}
            action = {k: v for k, v in probers[path].items() if k in ("httpGet", "tcpSocket", "grpc")}
            out[name] = {**rest, **action}
    return out
