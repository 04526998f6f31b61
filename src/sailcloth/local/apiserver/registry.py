"""The registry of served resources: built-in ones from records, custom ones from CustomResourceDefinitions."""

from __future__ import annotations

import copy
import gzip
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources as files
from typing import Any

import orjson

from sailcloth.lib.cel import BadExpression
from sailcloth.lib.celrules import Rules
from sailcloth.lib.openapi import KEEP, Node, Schemas

from .kinds import KINDS, scale_paths
from .kinds.columns import AGE
from .kinds.printer_columns import custom_columns
from .kinds.record import SCALE, STATUS, Column, Kind, Subresource
from .kinds.scale_paths import ScalePaths

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
_CONVERTED = 20_000  # objects of a version that are kept in its shape
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
# Lists that the published schemas require, because Go always writes them, as null when they are empty.
_MAY_BE_EMPTY = (
    ("io.k8s.api.discovery.v1.EndpointSlice", "endpoints"),
    ("io.k8s.api.core.v1.LimitRangeSpec", "limits"),
    ("io.k8s.api.authentication.v1.TokenRequestSpec", "audiences"),
)
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@cache
def builtin_schemas() -> Schemas:
    """Schemas of the built-in kinds (version 1.32), read on first use."""
    data = files.files("sailcloth.local.apiserver").joinpath("data/schemas.json.gz").read_bytes()
    definitions = orjson.loads(gzip.decompress(data))
    for node in definitions.values():
        if node.get("type") == "object" and "properties" not in node and "additionalProperties" not in node:
            node[KEEP] = True  # RawExtension and its like: an object of any fields
    ports = definitions["io.k8s.api.core.v1.ContainerPort"], definitions["io.k8s.api.core.v1.ServicePort"]
    for node in ports:  # a key of the list it is in, whose default the published schemas leave out
        node["properties"]["protocol"]["default"] = "TCP"
    for name, key in _MAY_BE_EMPTY:
        node = definitions[name]
        node["required"] = [k for k in node["required"] if k != key]
    return Schemas(definitions)


@dataclass(eq=False)
class ApiResource:
    """One version of one resource."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    singular: str = ""
    record: Kind | None = None  # of a built-in kind
    schema: Node = None  # of a custom resource
    columns: tuple[Column, ...] = (AGE,)
    storage_version: str = ""
    scale: ScalePaths = ScalePaths()
    warnings: tuple[str, ...] = ()  # for everybody who uses this version
    metadata_schema: Node = None  # what a custom schema says of metadata: limits of the name at most
    _converted: dict[int, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)  # by the stored one's id
    converts: bool = False  # what is stored may lack this version's defaults, or have fields that it does not know

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition defines it."""
        return self.record is None

    def subresource(self, name: str) -> Subresource | None:
        """What is served at `/name` below an object."""
        return next((s for s in self.subresources if s.name == name), None)

    @property
    def has_status_path(self) -> bool:
        """Whether status is a subresource, and written there only."""
        return self.subresource("status") is not None

    @property
    def has_generation(self) -> bool:
        return self.record is None or self.record.generation

    @property
    def group_resource(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def schemas(self) -> Schemas:
        return builtin_schemas()

    @cached_property
    def node(self) -> Node:
        """Its schema; the same object each time, because what is made of a schema is kept by that."""
        return self.schema if self.record is None else {"$ref": f"#/$defs/{self.record.definition}"}

    def from_storage(self, obj: dict[str, Any]) -> dict[str, Any]:
        """A stored object in this version: pruned and with defaults as this version's schema has them."""
        if self.record is not None and self.record.from_storage is not None:
            return self.record.from_storage(obj)
        if self.converts:
            known = self._converted.get(id(obj))
            if known is None or known[0] is not obj:
                converted = copy.deepcopy(obj)
                self.schemas.prune(self.node, converted)
                self.schemas.default(self.node, converted)
                if len(self._converted) >= _CONVERTED:
                    self._converted.clear()
                known = self._converted[id(obj)] = (obj, converted)
            obj = known[1]
        return obj if obj.get("apiVersion") == self.group_version else {**obj, "apiVersion": self.group_version}

    def to_storage(self, obj: dict[str, Any]) -> dict[str, Any]:
        """An object of this version as it is stored."""
        if self.record is not None and self.record.to_storage is not None:
            return self.record.to_storage(obj)
        return {**obj, "apiVersion": f"{self.group}/{self.storage_version}" if self.custom else self.group_version}

    @cached_property
    def rules(self) -> Rules | None:
        """The CEL rules of a custom resource. Rules that do not compile, stored by an older version of the program, are skipped."""
        try:
            return Rules(self.schemas, self.schema) if self.custom else None
        except BadExpression:
            return None


def builtin_resources() -> list[ApiResource]:
    """Every built-in resource that is served."""
    return [
        ApiResource(
            kind.group,
            kind.version,
            kind.plural,
            kind.kind,
            kind.namespaced,
            kind.short_names,
            kind.categories,
            kind.subresources,
            kind.kind.lower(),
            record=kind,
            columns=kind.columns or (AGE,),
        )
        for kind in KINDS
    ]


def custom_resources(crd: dict[str, Any]) -> list[ApiResource]:
    """The resources that a CustomResourceDefinition defines, one for each served version."""
    spec = crd["spec"]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    stored = next((v for v in spec["versions"] if v.get("storage")), spec["versions"][0])
    changed = int(crd["metadata"].get("generation") or 1) > 1
    differ = any(v.get("schema") != stored.get("schema") for v in spec["versions"])
    out = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        given = (version.get("schema") or {}).get("openAPIV3Schema")
        if spec.get("preserveUnknownFields") or given is None:
            given = {**(given or {"type": "object"}), KEEP: True}
        schema = {"type": "object", **given}
        kept = (schema.get("properties") or {}).get("metadata")
        schema["properties"] = {
            **(schema.get("properties") or {}),
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": f"#/$defs/{_META}"},
        }
        subresources = version.get("subresources") or {}
        resource = ApiResource(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            spec["scope"] == "Namespaced",
            tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            tuple(s for s in (STATUS, SCALE) if subresources.get(s.name) is not None),
            names.get("singular") or spec["names"]["kind"].lower(),
            schema=schema,
            columns=custom_columns(version.get("additionalPrinterColumns")),
            storage_version=stored["name"],
            scale=scale_paths.paths(subresources.get("scale") or {}),
            warnings=_deprecation(spec, version),
            converts=changed or differ,
        )
        resource.metadata_schema = {**kept, "required": []} if kept is not None else None
        out.append(resource)
    return out


def _deprecation(spec: dict[str, Any], version: dict[str, Any]) -> tuple[str, ...]:
    if not version.get("deprecated"):
        return ()
    if version.get("deprecationWarning"):
        return (str(version["deprecationWarning"]),)
    kind, group = spec["names"]["kind"], spec["group"]
    text = f"{group}/{version['name']} {kind} is deprecated"
    better = [v["name"] for v in spec["versions"] if v.get("served") and not v.get("deprecated")]
    better = sorted(
        (n for n in better if version_priority(n) < version_priority(version["name"])), key=version_priority
    )
    return (f"{text}; use {group}/{better[0]} {kind}" if better else text,)


class Registry:
    """All served resources, by group, version and plural."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str, str], ApiResource] = {}
        self.generation = 0
        for resource in builtin_resources():
            self.add(resource)

    def add(self, resource: ApiResource) -> None:
        self.resources[resource.group, resource.version, resource.plural] = resource
        self.generation += 1

    def remove(self, group: str, plural: str) -> None:
        for key in [k for k in self.resources if k[0] == group and k[2] == plural]:
            del self.resources[key]
        self.generation += 1

    def get(self, group: str, version: str, plural: str) -> ApiResource | None:
        return self.resources.get((group, version, plural))

    def groups(self) -> dict[str, dict[str, list[ApiResource]]]:
        """Group → version → resources; versions in order of preference (v1 before v1beta1 before v1alpha3)."""
        out: dict[str, dict[str, list[ApiResource]]] = {}
        for (group, version, _), resource in self.resources.items():
            out.setdefault(group, {}).setdefault(version, []).append(resource)
        return {g: dict(sorted(vs.items(), key=lambda v: version_priority(v[0]))) for g, vs in out.items()}

    def group_resources(self) -> list[ApiResource]:
        """One entry for each resource, whatever its versions."""
        return list({s.group_resource: s for s in self.resources.values()}.values())


def version_priority(version: str) -> tuple[int, int, int, str]:
    """The order of preference: v2, v1, v1beta2, v1beta1, v1alpha1, then anything else by name."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)
