"""The register of served resources: built-in ones from a table, custom ones from CustomResourceDefinitions."""

from __future__ import annotations

import copy
import gzip
from dataclasses import dataclass, field
from functools import cache
from importlib import resources as files
from typing import Any

import orjson

from sailcloth.lib.openapi import Node, Schemas

from . import tables
from .ownership import Fields
from .tables import Column

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@cache
def builtin() -> Schemas:
    """Schemas of the built-in kinds (version 1.32), read on first use."""
    data = files.files("sailcloth.local.apiserver").joinpath("data/schemas.json.gz").read_bytes()
    return Schemas(orjson.loads(gzip.decompress(data)))


@dataclass(eq=False)
class Served:
    """One version of one resource."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    singular: str = ""
    definition: str = ""  # name of the built-in schema
    schema: Node = None  # of a custom resource
    columns: list[Column] = field(default_factory=list)
    custom: bool = False
    storage_version: str = ""
    _fields: Fields | None = None

    @property
    def gr(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def gv(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def schemas(self) -> Schemas:
        return builtin()

    @property
    def node(self) -> Node:
        if self.schema is not None:
            return self.schema
        return {"$ref": f"#/$defs/{self.definition}"} if self.definition else None

    def shown(self, obj: dict[str, Any]) -> dict[str, Any]:
        """An object in this version; versions differ in nothing else."""
        return obj if obj.get("apiVersion") == self.gv else {**obj, "apiVersion": self.gv}

    @property
    def fields(self) -> Fields:
        if self._fields is None:
            self._fields = Fields(self.schemas, self.node)
        return self._fields


def _row(group: str, version: str, plural: str, kind: str, api: str, **options: Any) -> Served:
    definition = f"io.k8s.{api}.{version}.{kind}"
    out = Served(group, version, plural, kind, definition=definition, singular=kind.lower(), **options)
    out.columns = tables.COLUMNS.get(out.gr, [tables.AGE])
    return out


def builtin_resources() -> list[Served]:
    """Every built-in resource that is served."""
    core, all_ = "api.core", ("all",)
    apiext = "apiextensions-apiserver.pkg.apis.apiextensions"
    pod_subs = ("log", "exec", "attach", "portforward", "status", "eviction", "binding")
    scale = ("status", "scale")
    return [
        _row("", "v1", "namespaces", "Namespace", core, namespaced=False, short=("ns",), subresources=("status", "finalize")),
        _row("", "v1", "pods", "Pod", core, short=("po",), categories=all_, subresources=pod_subs),
        _row("", "v1", "services", "Service", core, short=("svc",), categories=all_, subresources=("status",)),
        _row("", "v1", "endpoints", "Endpoints", core, short=("ep",)),
        _row("", "v1", "configmaps", "ConfigMap", core, short=("cm",)),
        _row("", "v1", "secrets", "Secret", core),
        _row("", "v1", "serviceaccounts", "ServiceAccount", core, short=("sa",), subresources=("token",)),
        _row("", "v1", "nodes", "Node", core, namespaced=False, short=("no",), subresources=("status",)),
        _row("", "v1", "events", "Event", core, short=("ev",)),
        _row("", "v1", "resourcequotas", "ResourceQuota", core, short=("quota",), subresources=("status",)),
        _row("", "v1", "limitranges", "LimitRange", core, short=("limits",)),
        _row("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", core, short=("pvc",), subresources=("status",)),
        _row("apps", "v1", "deployments", "Deployment", "api.apps", short=("deploy",), categories=all_, subresources=scale),
        _row("apps", "v1", "replicasets", "ReplicaSet", "api.apps", short=("rs",), categories=all_, subresources=scale),
        _row("apps", "v1", "statefulsets", "StatefulSet", "api.apps", short=("sts",), categories=all_, subresources=scale),
        _row("apps", "v1", "daemonsets", "DaemonSet", "api.apps", short=("ds",), categories=all_, subresources=("status",)),
        _row("batch", "v1", "jobs", "Job", "api.batch", categories=all_, subresources=("status",)),
        _row("batch", "v1", "cronjobs", "CronJob", "api.batch", short=("cj",), categories=all_, subresources=("status",)),
        _row("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "api.discovery"),
        _row("coordination.k8s.io", "v1", "leases", "Lease", "api.coordination"),
        _row("rbac.authorization.k8s.io", "v1", "roles", "Role", "api.rbac"),
        _row("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", "api.rbac"),
        _row("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", "api.rbac", namespaced=False),
        _row("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", "api.rbac", namespaced=False),
        _row("networking.k8s.io", "v1", "ingresses", "Ingress", "api.networking", short=("ing",), subresources=("status",)),
        _row("networking.k8s.io", "v1", "ingressclasses", "IngressClass", "api.networking", namespaced=False),
        _row("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", "api.networking", short=("netpol",)),
        _row("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "api.policy", short=("pdb",), subresources=("status",)),
        _row("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "api.autoscaling", short=("hpa",), categories=all_, subresources=("status",)),
        _row("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", apiext, namespaced=False, short=("crd", "crds"), categories=("api-extensions",), subresources=("status",)),
        _row("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", "api.admissionregistration", namespaced=False),
        _row("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", "api.admissionregistration", namespaced=False),
    ]  # fmt: skip


def custom_resources(crd: dict[str, Any]) -> list[Served]:
    """The resources that a CustomResourceDefinition defines, one for each served version."""
    spec, names = crd["spec"], crd["spec"]["names"]
    stored = next((v["name"] for v in spec["versions"] if v.get("storage")), spec["versions"][0]["name"])
    out = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        schema = copy.deepcopy(
            (version.get("schema") or {}).get("openAPIV3Schema")
            or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        )
        properties = schema.setdefault("properties", {})
        properties.update(
            {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": f"#/$defs/{_META}"}}
        )
        out.append(
            Served(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                tuple(names.get("shortNames") or ()),
                tuple(names.get("categories") or ()),
                tuple(s for s in ("status", "scale") if s in (version.get("subresources") or {})),
                names.get("singular") or names["kind"].lower(),
                schema=schema,
                columns=tables.custom_columns(version.get("additionalPrinterColumns")),
                custom=True,
                storage_version=stored,
            )
        )
    return out


class Registry:
    """All served resources, by group, version and plural."""

    def __init__(self) -> None:
        self.by_path: dict[tuple[str, str, str], Served] = {}
        self.generation = 0
        for served in builtin_resources():
            self.add(served)

    def add(self, served: Served) -> None:
        self.by_path[served.group, served.version, served.plural] = served
        self.generation += 1

    def remove(self, group: str, plural: str) -> None:
        for key in [k for k in self.by_path if k[0] == group and k[2] == plural]:
            del self.by_path[key]
        self.generation += 1

    def get(self, group: str, version: str, plural: str) -> Served | None:
        return self.by_path.get((group, version, plural))

    def groups(self) -> dict[str, dict[str, list[Served]]]:
        """Group → version → resources; versions in order of preference (v1 before v1beta1 before v1alpha3)."""
        out: dict[str, dict[str, list[Served]]] = {}
        for (group, version, _), served in self.by_path.items():
            out.setdefault(group, {}).setdefault(version, []).append(served)
        return {g: dict(sorted(vs.items(), key=lambda v: _rank(v[0]))) for g, vs in out.items()}

    def distinct(self) -> list[Served]:
        """One entry for each resource, whatever its versions."""
        return list({s.gr: s for s in self.by_path.values()}.values())


def _rank(version: str) -> tuple[int, str]:
    return (0 if "alpha" not in version and "beta" not in version else 1 if "beta" in version else 2, version)
