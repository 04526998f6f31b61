"""Derives CustomResourceDefinitions from the API types, so that one definition yields the type and the served schema.

Must not know any kind; annotations of the types and `kinds` define them.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import msgspec

from .kinds import SERVED_KINDS, Kind
from .meta import SERVED

_CONDITION = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "Type of the condition, such as Programmed or Accepted."},
        "status": {"type": "string", "description": "True, False or Unknown."},
        "reason": {"type": "string", "description": "Reason as one CamelCase word, for programs."},
        "message": {"type": "string", "description": "Message for people."},
        "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status last changed."},
        "lastProbeTime": {
            "type": "string",
            "format": "date-time",
            "description": "When the condition was last probed.",
        },
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "Generation of the object that the condition is about.",
        },
    },
}
_STATUS: dict[str, Any] = {
    "type": "object",
    "description": "Where the object is applied, and its errors.",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "description": "Conditions of the object, set by the control plane.",
        },
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "Generation that the control plane last observed.",
        },
        "validationMessages": {
            "type": "array",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "description": "Findings of the analysis.",
        },
    },
}


_SINGULARS = {"quota": "mixerquota"}  # kubectl means a resourcequota by quota
_RULES = "x-kubernetes-validations"


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a kind, without references and with a description of every field."""
    return _root(kind, False)


@cache
def served_schema(kind: Kind) -> dict[str, Any]:
    """The schema for the API server: with the limits and rules of `meta.Constraint`."""
    return _root(kind, True)


def _root(kind: Kind, served: bool) -> dict[str, Any]:
    (_, components) = msgspec.json.schema_components((kind.type,), ref_template="{name}")
    root = components[kind.type.__name__]
    spec = root["properties"]["spec"]
    required = "spec" in root.get("required", ()) or (served and _constraints(spec).get("required"))
    return {
        "type": "object",
        "description": inspect.cleandoc(kind.type.__doc__ or "").split("\n")[0],
        "properties": {"spec": _structural(spec, components, served), "status": _status(root, components, served)},
        **({"required": ["spec"]} if required else {}),
    }


def _status(root: dict[str, Any], components: dict[str, Any], served: bool) -> dict[str, Any]:
    """The common status schema, and the fields of the kind's own status type."""
    own_status = root["properties"].get("status")
    extra = _structural(own_status, components, served)["properties"] if own_status else {}
    return {**_STATUS, "properties": {**extra, **_STATUS["properties"]}}


def _structural(node: dict[str, Any], components: dict[str, Any], served: bool) -> dict[str, Any]:
    aside = ("$ref", "anyOf", "default", "title")
    extra = {k: v for k, v in node.items() if k not in aside and not k.startswith(SERVED)}
    limits = {k: v for k, v in _constraints(node).items() if k != "required"} if served else {}
    if "$ref" in node:
        return _with(_structural(components[node["$ref"]], components, served), extra, limits)
    if "anyOf" in node:
        (inner,) = [n for n in node["anyOf"] if n.get("type") != "null"]
        return _with(_structural(inner, components, served), extra, limits)
    structural = _with({}, extra, limits)
    if "enum" in structural:
        structural["enum"] = [v for v in structural["enum"] if v is not None]
        structural["type"] = "string"
    if isinstance(structural.get("type"), list):
        structural["type"] = next(t for t in structural["type"] if t != "null")
    if structural.get("type") == "object":
        if "properties" in structural:
            required = [k for k, v in structural["properties"].items() if served and _constraints(v).get("required")]
            if required:
                structural["required"] = [*structural.get("required", ()), *required]
            structural["properties"] = {
                k: _structural(v, components, served) for k, v in structural["properties"].items()
            }
            structural.pop("additionalProperties", None)
        if isinstance(structural.get("additionalProperties"), dict):
            structural["additionalProperties"] = _structural(structural["additionalProperties"], components, served)
    if "items" in structural:
        structural["items"] = _structural(structural["items"], components, served)
    if structural.get("required") == []:
        del structural["required"]
    return structural


def _constraints(node: dict[str, Any]) -> dict[str, Any]:
    """All limits and rules of a node (`meta.Constraint`); rules in source order."""
    merged: dict[str, Any] = {}
    for key in sorted((k for k in node if k.startswith(SERVED)), key=lambda k: int(k.removeprefix(SERVED))):
        rules, required = (
            [*merged.get(_RULES, ()), *node[key].get(_RULES, ())],
            merged.get("required") or node[key]["required"],
        )
        merged |= {**node[key], "required": required, **({_RULES: rules} if rules else {})}
    return merged


def _with(node: dict[str, Any], extra: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    """A node with the additions of the node that refers to it; rules are joined."""
    rules = [*node.get(_RULES, ()), *limits.get(_RULES, ())]
    return {**node, **extra, **limits, **({_RULES: rules} if rules else {})}


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind; all versions have the same schema."""
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
                "singular": _SINGULARS.get(kind.name, kind.name.lower()),
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
                    "schema": {"openAPIV3Schema": served_schema(kind)},
                }
                for version in kind.versions
            ],
        },
    }


def crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions of the mesh."""
    return [crd(kind) for kind in SERVED_KINDS]
