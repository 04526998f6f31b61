"""Discovery (aggregated and by group) and OpenAPI v3 documents, from the registry. Pure but for a cache."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from ..registry import VERBS, ApiResource, Registry

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# Kinds that exist only as a request and its answer.
REVIEWS: dict[tuple[str, str], list[tuple[str, str, bool]]] = {
    ("authorization.k8s.io", "v1"): [
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
    ],
    ("authentication.k8s.io", "v1"): [
        ("selfsubjectreviews", "SelfSubjectReview", False),
        ("tokenreviews", "TokenReview", False),
    ],
}


class Discovery:
    """Answers about what is served."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[tuple[str, str], bytes] = {}
        self._at = -1

    def groups(self) -> dict[str, dict[str, list[ApiResource]]]:
        out = self._registry.groups()
        for group, version in REVIEWS:
            out.setdefault(group, {}).setdefault(version, [])
        return out

    def aggregated(self, core: bool) -> dict[str, Any]:
        """Aggregated discovery, version v2."""
        items = []
        for group, versions in self.groups().items():
            if (group == "") != core:
                continue
            entries = [
                {
                    "version": version,
                    "resources": [_entry(s) for s in resources]
                    + [_review(group, version, *r) for r in REVIEWS.get((group, version), ())],
                    "freshness": "Current",
                }
                for version, resources in versions.items()
            ]
            items.append({"metadata": {"name": group, "creationTimestamp": None}, "versions": entries})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    def group_list(self) -> dict[str, Any]:
        groups = [self.group(g) for g in self.groups() if g]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def group(self, name: str) -> dict[str, Any] | None:
        versions = self.groups().get(name)
        if versions is None:
            return None
        entries = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
        return {
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": name,
            "versions": entries,
            "preferredVersion": entries[0],
        }

    def resource_list(self, group: str, version: str) -> dict[str, Any] | None:
        resources = self.groups().get(group, {}).get(version)
        if resources is None:
            return None
        out = []
        for s in resources:
            entry = {"name": s.plural, "singularName": s.singular, "namespaced": s.namespaced, "kind": s.kind}
            out.append({**entry, "verbs": VERBS, "shortNames": list(s.short), "categories": list(s.categories)})
            for sub in s.subresources:
                below = {"name": f"{s.plural}/{sub.name}", "singularName": "", "namespaced": s.namespaced}
                below |= {"kind": sub.kind or s.kind, "verbs": list(sub.verbs)}
                if sub.group:
                    below |= {"group": sub.group, "version": sub.version}
                out.append(below)
        for plural, kind, namespaced in REVIEWS.get((group, version), ()):
            out.append(
                {"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["create"]}
            )
        gv = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": out}

    # -- OpenAPI v3 -----------------------------------------------------------------------------

    def openapi_index(self) -> dict[str, Any]:
        paths = {}
        for group, versions in self.groups().items():
            for version in versions:
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                digest = hashlib.sha256(self.openapi(group, version) or b"").hexdigest()[:32].upper()
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def openapi(self, group: str, version: str) -> bytes | None:
        """The OpenAPI v3 document of a group version, encoded once."""
        if self._at != self._registry.generation:
            self._documents.clear()
            self._at = self._registry.generation
        known = self._documents.get((group, version))
        if known is None:
            resources = self.groups().get(group, {}).get(version)
            if resources is None:
                return None
            known = self._documents[group, version] = orjson.dumps(_document(group, version, resources))
        return known


def _entry(s: ApiResource) -> dict[str, Any]:
    subs = []
    for sub in s.subresources:
        group, version = (sub.group, sub.version) if sub.group else (s.group, s.version)
        subs.append(
            {
                "subresource": sub.name,
                "responseKind": {"group": group, "version": version, "kind": sub.kind or s.kind},
                "verbs": list(sub.verbs),
            }
        )
    out: dict[str, Any] = {
        "resource": s.plural,
        "responseKind": {"group": s.group, "version": s.version, "kind": s.kind},
        "scope": "Namespaced" if s.namespaced else "Cluster",
        "singularResource": s.singular,
        "verbs": VERBS,
        "shortNames": list(s.short),
        "categories": list(s.categories),
    }
    if subs:
        out["subresources"] = subs
    return out


def _review(group: str, version: str, plural: str, kind: str, namespaced: bool) -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"group": group, "version": version, "kind": kind},
        "scope": "Namespaced" if namespaced else "Cluster",
        "singularResource": kind.lower(),
        "verbs": ["create"],
    }


def _rewrite(node: Any, wanted: list[str]) -> Any:
    if isinstance(node, dict):
        out = {}
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                name = value.rsplit("/", 1)[1]
                wanted.append(name)
                out[key] = "#/components/schemas/" + name
            else:
                out[key] = _rewrite(value, wanted)
        return out
    if isinstance(node, list):
        return [_rewrite(n, wanted) for n in node]
    return node


def _document(group: str, version: str, resources: list[ApiResource]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    wanted: list[str] = []
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    for s in resources:
        gvk = {"group": group, "version": version, "kind": s.kind}
        if s.record is None:
            name = ".".join(reversed(group.split("."))) + f".{version}.{s.kind}"
            schema = _rewrite(s.schema, wanted)
            schema["properties"] = {
                **schema.get("properties", {}),
                "metadata": {
                    "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]
                },
            }
            schemas[name] = {**schema, "x-kubernetes-group-version-kind": [gvk]}
        else:
            name = s.record.definition
            wanted.append(name)
        base = root + ("/namespaces/{namespace}" if s.namespaced else "") + f"/{s.plural}"

        def operation(action: str, name: str = name, gvk: dict[str, str] = gvk) -> dict[str, Any]:
            parameters = [
                {"name": p, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
                for p in ("dryRun", "fieldManager", "fieldValidation")
            ]
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
            return {
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": gvk,
                "parameters": parameters,
                "responses": {"200": {"description": "OK", "content": content}},
            }

        paths[base] = {"get": operation("list"), "post": operation("post")}
        paths[base + "/{name}"] = {a: operation(a) for a in ("get", "put", "patch", "delete")}
    definitions = resources[0].schemas.definitions if resources else {}
    while wanted:
        name = wanted.pop()
        if name not in schemas and name in definitions:
            definition = schemas[name] = _rewrite(definitions[name], wanted)
            kind = next((s for s in resources if s.record is not None and s.record.definition == name), None)
            if kind is not None:
                gvk = {"group": group, "version": version, "kind": kind.kind}
                schemas[name] = {**definition, "x-kubernetes-group-version-kind": [gvk]}
    info = {"title": "Kubernetes", "version": "v1.32.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}
