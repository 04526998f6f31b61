"""Defaults of pod specs, which pods and the templates of workloads have in common."""

from __future__ import annotations

from ..unstructured import Unstructured
from .defaulting import canonical, quantities


def template(holder: Unstructured, key: str = "template") -> None:
    """The pod template that an object holds, in place."""
    pod_template = holder.get(key)
    if not isinstance(pod_template, dict):
        pod_template = holder[key] = {}
    if not isinstance(pod_template.get("metadata"), dict):
        pod_template["metadata"] = {}
    pod_template["metadata"].setdefault("creationTimestamp", None)
    if isinstance(pod_template.get("spec"), dict):
        apply(pod_template["spec"])


def apply(spec: Unstructured) -> None:
    """A pod's spec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec.get("serviceAccountName") or spec["serviceAccount"]
        spec["serviceAccount"] = spec["serviceAccountName"]
    for key in ("volumes", "initContainers", "imagePullSecrets", "tolerations", "hostAliases"):
        if key in spec and not spec[key]:
            del spec[key]
    for volume in spec.get("volumes") or ():
        _volume(volume)
    for container in all_containers(spec):
        _container(container, bool(spec.get("hostNetwork")))
    if isinstance(spec.get("overhead"), dict):
        quantities(spec["overhead"])


def all_containers(spec: Unstructured) -> list[Unstructured]:
    groups = ("containers", "initContainers", "ephemeralContainers")
    return [c for g in groups for c in spec.get(g) or () if isinstance(c, dict)]


def _container(c: Unstructured, on_host: bool) -> None:
    c.setdefault("terminationMessagePath", "/dev/termination-log")
    c.setdefault("terminationMessagePolicy", "File")
    image = str(c.get("image") or "")
    latest = image.endswith(":latest") or ":" not in image.rsplit("/", 1)[-1]
    if "@" in image:
        latest = False
    c.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    if c.get("resources") is None:
        c["resources"] = {}
    for kind in ("limits", "requests"):
        if isinstance(c["resources"].get(kind), dict):
            quantities(c["resources"][kind])
    for port in c.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if on_host:
            port.setdefault("hostPort", port.get("containerPort"))
    for variable in c.get("env") or ():
        _field_reference(variable.get("valueFrom") or {})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = c.get(name)
        if isinstance(probe, dict):
            for key, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                if not probe.get(key):
                    probe[key] = value
            _action(probe)
    for moment in ("postStart", "preStop"):
        _action((c.get("lifecycle") or {}).get(moment) or {})


def _action(handler: Unstructured) -> None:
    if isinstance(handler.get("httpGet"), dict):
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")
    if isinstance(handler.get("grpc"), dict):
        handler["grpc"].setdefault("service", "")


def _field_reference(source: Unstructured) -> None:
    if isinstance(source.get("fieldRef"), dict):
        source["fieldRef"].setdefault("apiVersion", "v1")
    reference = source.get("resourceFieldRef")
    if isinstance(reference, dict):
        reference.setdefault("divisor", "0")
        reference["divisor"] = canonical(reference["divisor"])


def _volume(v: Unstructured) -> None:
    if not any(value is not None for key, value in v.items() if key != "name"):
        v["emptyDir"] = {}
    for source in ("configMap", "secret", "downwardAPI", "projected"):
        if isinstance(v.get(source), dict):
            v[source].setdefault("defaultMode", 420)
    inner = [v, *((v.get("projected") or {}).get("sources") or ())]
    for holder in inner:
        for item in (holder.get("downwardAPI") or {}).get("items") or ():
            _field_reference(item)
        if isinstance(holder.get("serviceAccountToken"), dict):
            holder["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    if isinstance(v.get("hostPath"), dict):
        v["hostPath"].setdefault("type", "")
    if isinstance((v.get("emptyDir") or {}).get("sizeLimit"), str | int):
        v["emptyDir"]["sizeLimit"] = canonical(v["emptyDir"]["sizeLimit"])
    claim = (v.get("ephemeral") or {}).get("volumeClaimTemplate")
    if isinstance(claim, dict) and isinstance(claim.get("spec"), dict):
        claim["spec"].setdefault("volumeMode", "Filesystem")
