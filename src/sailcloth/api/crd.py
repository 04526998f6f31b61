"""CustomResourceDefinitions from the typed kinds: one definition each yields the type and the served schema.

Must not hold any per-kind knowledge; that stands in the types' annotations and in `kinds`.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import msgspec

from .kinds import MESH_KINDS, Kind

_CONDITION = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "What is said, such as Programmed or Accepted."},
        "status": {"type": "string", "description": "True, False or Unknown."},
        "reason": {"type": "string", "description": "One word for machines."},
        "message": {"type": "string", "description": "A sentence for people."},
        "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status last changed."},
        "lastProbeTime": {"type": "string", "format": "date-time", "description": "When it was last looked at."},
        "observedGeneration": {"type": "integer", "format": "int64", "description": "Generation it speaks of."},
    },
}
_STATUS = {
    "type": "object",
    "description": "Where the object is applied, and what is wrong with it.",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "description": "What the control plane says of the object.",
        },
        "observedGeneration": {"type": "integer", "format": "int64", "description": "Generation last seen."},
        "validationMessages": {
            "type": "array",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "description": "Findings of the analysis.",
        },
    },
}


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a kind: no references, a description at every field."""
    (_, components) = msgspec.json.schema_components((kind.type,), ref_template="{name}")
    root = components[kind.type.__name__]
    spec = _structural(root["properties"]["spec"], components)
    return {
        "type": "object",
        "description": inspect.cleandoc(kind.type.__doc__ or "").split("\n")[0],
        "properties": {"spec": spec, "status": _STATUS},
        **({"required": ["spec"]} if "spec" in root.get("required", ()) else {}),
    }


def _structural(node: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    extra = {k: v for k, v in node.items() if k not in ("$ref", "anyOf", "default", "title")}
    if "$ref" in node:
        return {**_structural(components[node["$ref"]], components), **extra}
    if "anyOf" in node:
        (inner,) = [n for n in node["anyOf"] if n.get("type") != "null"]
        return {**_structural(inner, components), **extra}
    out = dict(extra)
    if "enum" in out:
        out["enum"] = [v for v in out["enum"] if v is not None]
        out["type"] = "string"
    if isinstance(out.get("type"), list):
        out["type"] = next(t for t in out["type"] if t != "null")
    if out.get("type") == "object":
        if "properties" in out:
            out["properties"] = {k: _structural(v, components) for k, v in out["properties"].items()}
            out.pop("additionalProperties", None)
        if isinstance(out.get("additionalProperties"), dict):
            out["additionalProperties"] = _structural(out["additionalProperties"], components)
    if "items" in out:
        out["items"] = _structural(out["items"], components)
    if out.get("required") == []:
        del out["required"]
    return out


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition object of one kind, all versions served from one schema."""
    columns = [{"name": n, "type": t, "jsonPath": p} for n, t, p in kind.columns]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{kind.group}",
            "labels": {"app": "sailcloth", "release": "sailcloth"},
        },
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": list(kind.short),
                "categories": ["istio-io", kind.group.replace(".", "-")],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == kind.versions[0],
                    "additionalPrinterColumns": columns,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema(kind)},
                }
                for version in kind.versions
            ],
        },
    }


def crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions of the mesh."""
    return [crd(kind) for kind in MESH_KINDS]
