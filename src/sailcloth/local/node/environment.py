"""Environment of containers: values, references, `$(NAME)` expansion. Source: the Kubernetes container specification."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any

Object = dict[str, Any]
Fetch = Callable[[str, str], Awaitable[Object | None]]
"""(configmaps or secrets, name) → the object in the pod's namespace, or None."""

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class Missing(Exception):
    """An object or key that the pod refers to does not exist (yet); the text names it."""


def expand(text: str, values: dict[str, str]) -> str:
    """`$(NAME)` becomes the value, `$$` a dollar; unknown names stay as they are."""

    def replace(result: re.Match[str]) -> str:
        if result[0] == "$$":
            return "$"
        return values.get(result[1], result[0])

    return _REFERENCE.sub(replace, text)


async def build(pod: Object, container: Object, pod_ip: str, node_ip: str, fetch: Fetch) -> dict[str, str]:
    """The container's own variables, in order, later ones seeing earlier ones. Raises Missing."""
    out: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        kind, reference = (
            ("configmaps", source.get("configMapRef"))
            if "configMapRef" in source
            else ("secrets", source.get("secretRef"))
        )
        obj = await fetch(kind, reference["name"])
        if obj is None:
            if reference.get("optional"):
                continue
            raise Missing(f'{kind[:-1]} "{reference["name"]}" not found')
        for key, value in _data(kind, obj).items():
            out[source.get("prefix", "") + key] = value
    for variable in container.get("env") or ():
        name = variable["name"]
        origin = variable.get("valueFrom")
        if not origin:
            out[name] = expand(str(variable.get("value") or ""), out)
            continue
        resolved = await _value(pod, container, origin, pod_ip, node_ip, fetch)
        if resolved is not None:
            out[name] = resolved
    return out


async def _value(pod: Object, container: Object, origin: Object, pod_ip: str, node_ip: str, fetch: Fetch) -> str | None:
    if "fieldRef" in origin:
        return field(pod, origin["fieldRef"]["fieldPath"], pod_ip, node_ip)
    if "resourceFieldRef" in origin:
        return resource(container, origin["resourceFieldRef"])
    for kind, key in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        reference = origin.get(key)
        if reference is None:
            continue
        obj = await fetch(kind, reference["name"])
        data = _data(kind, obj) if obj is not None else {}
        if reference["key"] in data:
            return data[reference["key"]]
        if reference.get("optional"):
            return None
        what = f"key {reference['key']} in " if obj is not None else ""
        raise Missing(f"couldn't find {what}{kind[:-1]} {reference['name']}")
    return ""


def _data(kind: str, obj: Object) -> dict[str, str]:
    data = obj.get("data") or {}
    if kind == "configmaps":
        return {k: str(v) for k, v in data.items()}
    return {k: base64.b64decode(v).decode(errors="replace") for k, v in data.items()}


def field(pod: Object, path: str, pod_ip: str, node_ip: str) -> str:
    """A field of the pod, as the downward API names it."""
    metadata, spec = pod["metadata"], pod["spec"]
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": node_ip,
        "status.hostIPs": node_ip,
    }
    if path in simple:
        return str(simple[path])
    match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if match:
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.rpartition(".")[2]) or {}
        return "\n".join(f'{k}="{_escape(str(v))}"' for k, v in sorted(values.items()))
    return ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "m": 0.001}


def resource(container: Object, reference: Object) -> str:
    """A container's request or limit, in units of the divisor, rounded up; 0 if there is none."""
    kind, _, unit = reference["resource"].partition(".")
    given = str(((container.get("resources") or {}).get(kind) or {}).get(unit, "0") or "0")
    divisor = str(reference.get("divisor") or "1")
    value = quantity(given) / (quantity(divisor) or 1)
    return str(int(-(-value // 1)))


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    if not match:
        return 0.0
    return float(match[1]) * _UNITS.get(match[2], 1)
