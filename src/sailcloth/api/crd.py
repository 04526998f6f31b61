"""CustomResourceDefinitions from the typed kinds: one definition each yields the type and the served schema.

Must not hold any per-kind knowledge; that stands in the types' annotations and in `kinds`.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import msgspec

from .kinds import MESH_KINDS, Kind
from .meta import SERVED

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
_STATUS: dict[str, Any] = {
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


_RULES = "x-kubernetes-validations"


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a kind: no references, a description at every field."""
    return _root(kind, False)


@cache
def served_schema(kind: Kind) -> dict[str, Any]:
    """The schema as the API server gets it: with what it asks of values beyond their types (`meta.Constraint`)."""
    return _root(kind, True)


def _root(kind: Kind, served: bool) -> dict[str, Any]:
    (_, components) = msgspec.json.schema_components((kind.type,), ref_template="{name}")
    root = components[kind.type.__name__]
    given = root["properties"]["spec"]
    required = "spec" in root.get("required", ()) or (served and _constraints(given).get("required"))
    return {
        "type": "object",
        "description": inspect.cleandoc(kind.type.__doc__ or "").split("\n")[0],
        "properties": {"spec": _structural(given, components, served), "status": _status(root, components, served)},
        **({"required": ["spec"]} if required else {}),
    }


def _status(root: dict[str, Any], components: dict[str, Any], served: bool) -> dict[str, Any]:
    """What every kind's status has, and what a kind's own type adds."""
    own = root["properties"].get("status")
    more = _structural(own, components, served)["properties"] if own else {}
    return {**_STATUS, "properties": {**more, **_STATUS["properties"]}}


def _structural(node: dict[str, Any], components: dict[str, Any], served: bool) -> dict[str, Any]:
    aside = ("$ref", "anyOf", "default", "title")
    extra = {k: v for k, v in node.items() if k not in aside and not k.startswith(SERVED)}
    asked = {k: v for k, v in _constraints(node).items() if k != "required"} if served else {}
    if "$ref" in node:
        return _with(_structural(components[node["$ref"]], components, served), extra, asked)
    if "anyOf" in node:
        (inner,) = [n for n in node["anyOf"] if n.get("type") != "null"]
        return _with(_structural(inner, components, served), extra, asked)
    out = _with({}, extra, asked)
    if "enum" in out:
        out["enum"] = [v for v in out["enum"] if v is not None]
        out["type"] = "string"
    if isinstance(out.get("type"), list):
        out["type"] = next(t for t in out["type"] if t != "null")
    if out.get("type") == "object":
        if "properties" in out:
            wanted = [k for k, v in out["properties"].items() if served and _constraints(v).get("required")]
            if wanted:
                out["required"] = [*out.get("required", ()), *wanted]
            out["properties"] = {k: _structural(v, components, served) for k, v in out["properties"].items()}
            out.pop("additionalProperties", None)
        if isinstance(out.get("additionalProperties"), dict):
            out["additionalProperties"] = _structural(out["additionalProperties"], components, served)
    if "items" in out:
        out["items"] = _structural(out["items"], components, served)
    if out.get("required") == []:
        del out["required"]
    return out


def _constraints(node: dict[str, Any]) -> dict[str, Any]:
    """Everything that a place asks of its values (`meta.Constraint`), rules in the order they are written."""
    out: dict[str, Any] = {}
    for key in sorted((k for k in node if k.startswith(SERVED)), key=lambda k: int(k.removeprefix(SERVED))):
        rules, required = (
            [*out.get(_RULES, ()), *node[key].get(_RULES, ())],
            out.get("required") or node[key]["required"],
        )
        out |= {**node[key], "required": required, **({_RULES: rules} if rules else {})}
    return out


def _with(node: dict[str, Any], extra: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """A node with what the place that refers to it adds; rules come on top of each other."""
    rules = [*node.get(_RULES, ()), *asked.get(_RULES, ())]
    return {**node, **extra, **asked, **({_RULES: rules} if rules else {})}


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
                    "schema": {"openAPIV3Schema": served_schema(kind)},
                }
                for version in kind.versions
            ],
        },
    }


def crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions of the mesh."""
    return [crd(kind) for kind in MESH_KINDS]
