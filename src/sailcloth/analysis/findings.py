"""Findings for manifests: the errors of admission, and kinds and options without effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from sailcloth.api import kinds, validation
from sailcloth.api.meta import Finding, Key
from sailcloth.lib import bounded_yaml
from sailcloth.mesh import mesh_config, proxy_configs

_PROXY_CONFIG = "proxy.istio.io/config"
_NO_EFFECT = "this option has no effect here"
UNREAD_OPTION, BAD_OPTIONS, UNREAD_KIND = "SAIL0003", "SAIL0004", "SAIL0005"


def of_documents(documents: Iterable[dict[str, Any]], namespace: str = "default") -> list[Finding]:
    """Findings for unstructured objects: errors that admission refuses, and warnings for what has no effect."""
    out: list[Finding] = []
    for obj in documents:
        kind = kinds.kind_of(obj)
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict):
            metadata = {}
        key = Key(
            str(obj.get("kind") or "?"), str(metadata.get("namespace") or namespace), str(metadata.get("name") or "")
        )
        out += of_annotation(key, obj)
        if kind is None:
            text = f"{obj.get('apiVersion')} {obj.get('kind')} is not read by the mesh"
            out.append(Finding(code=UNREAD_KIND, severity="Info", resource=key, path="", text=text))
        elif key.kind == "ConfigMap" and key.name == "istio":
            out += of_options(key, obj)
        else:
            out += validation.check(obj, namespace)
    return out


def of_options(key: Key, config_map: dict[str, Any]) -> list[Finding]:
    """Findings for the mesh options in a ConfigMap."""
    data = config_map.get("data")
    text = str(data.get("mesh") or "") if isinstance(data, dict) else ""
    try:
        mesh_config.parse(text)
    except ValueError as error:
        fix = "The previous options stay in force."
        return [Finding(code=BAD_OPTIONS, severity="Error", resource=key, path="data.mesh", text=str(error), fix=fix)]
    return [
        Finding(
            code=UNREAD_OPTION,
            severity="Warning",
            resource=key,
            path=f"data.mesh.{name}",
            text=_NO_EFFECT,
        )
        for name in mesh_config.unread(text)
    ]


def of_annotation(key: Key, obj: dict[str, Any]) -> list[Finding]:
    """Findings for the ProxyConfig annotation of a pod or pod template."""
    findings: list[Finding] = []
    for path, metadata in _pod_metadata(obj):
        where = f"{path}.annotations[{_PROXY_CONFIG}]"
        annotations = metadata.get("annotations")
        text = annotations.get(_PROXY_CONFIG) if isinstance(annotations, dict) else None
        try:
            options = bounded_yaml.load(str(text)) if text else {}
            problem = "" if isinstance(options, dict) else "it must be an object"
        except yaml.YAMLError as error:
            options, problem = {}, f"it is not YAML: {' '.join(str(error).split())}"
        if problem:
            fix = "The pod cannot be injected until it is valid."
            findings.append(
                Finding(code=BAD_OPTIONS, severity="Error", resource=key, path=where, text=problem, fix=fix)
            )
            continue
        findings += [
            Finding(code=UNREAD_OPTION, severity="Warning", resource=key, path=f"{where}.{name}", text=_NO_EFFECT)
            for name in proxy_configs.unread(options)
        ]
    return findings


def _pod_metadata(obj: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(path, metadata) of a pod, or of an object's pod template."""
    spec = obj.get("spec")
    if obj.get("kind") == "CronJob" and isinstance(spec, dict):
        job = spec.get("jobTemplate")
        return [("spec.jobTemplate." + path, m) for path, m in _pod_metadata(job)] if isinstance(job, dict) else []
    template = spec.get("template") if isinstance(spec, dict) else None
    places = [("metadata", obj if obj.get("kind") == "Pod" else None), ("spec.template.metadata", template)]
    return [(p, o["metadata"]) for p, o in places if isinstance(o, dict) and isinstance(o.get("metadata"), dict)]
