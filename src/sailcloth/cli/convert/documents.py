"""What the conversions share: documents, the losses at them, and look-ups among them. Must not know a kind to convert."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from sailcloth.analysis import manifests
from sailcloth.api import core, kinds
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.mesh import hosts, mesh_config
from sailcloth.mesh.model import MeshConfig

LOST = "SAIL0301"
"""Code of the findings: a part of an object that its conversion does not keep."""
NETWORKING, SECURITY = "networking.istio.io", "security.istio.io"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_TYPED = {k.type: k for k in (*kinds.SERVED_KINDS, *kinds.OPTIONAL_KINDS)}


@dataclass(frozen=True)
class Document:
    """An object in JSON form. `text`: as its author wrote it, empty once it is changed; `sources`: the objects that it comes from;
    `losses`: what of them it does not say. Without a body it only has the losses of objects that nothing is left of."""

    body: dict[str, Any]
    text: str = ""
    sources: tuple[Key, ...] = ()
    losses: tuple[Finding, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.body.get("kind") or "")

    @property
    def group(self) -> str:
        return str(self.body.get("apiVersion") or "").rpartition("/")[0]

    @property
    def version(self) -> str:
        return str(self.body.get("apiVersion") or "").rpartition("/")[2]

    @property
    def metadata(self) -> dict[str, Any]:
        return mapping(self.body.get("metadata"))

    @property
    def own_metadata(self) -> dict[str, Any]:
        """The part of the metadata that its author wrote, without what a server or kubectl adds."""
        kept = {k: v for k, v in self.metadata.items() if k in ("name", "namespace", "labels")}
        annotations = mapping(self.metadata.get("annotations"))
        return {**kept, "annotations": {k: v for k, v in annotations.items() if k != _APPLIED}}

    @property
    def spec(self) -> dict[str, Any]:
        return mapping(self.body.get("spec"))

    @property
    def name(self) -> str:
        return str(self.metadata.get("name") or "")

    def key(self, namespace: str) -> Key:
        """The key; `namespace`: of objects without one."""
        return Key(self.kind, str(self.metadata.get("namespace") or namespace), self.name)

    def replaced(self, body: dict[str, Any], losses: Iterable[Finding] = ()) -> Document:
        """The document with another body, and more losses."""
        return replace(self, body=body, text="", losses=(*self.losses, *losses))


@dataclass
class Losses:
    """Collects the losses of one object."""

    key: Key
    found: list[Finding] = field(default_factory=list)

    def add(self, path: str, text: str, fix: str = "") -> None:
        """Add one, once."""
        finding = Finding(code=LOST, severity="Warning", resource=self.key, path=path, text=text, fix=fix)
        if finding not in self.found:
            self.found.append(finding)


@dataclass(frozen=True)
class Scope:
    """Where documents belong: the namespace of those without one, and the mesh's options."""

    namespace: str = "default"
    config: MeshConfig = field(default_factory=MeshConfig)

    def resolve(self, host: str, namespace: str) -> str:
        """The full name of a host that an object of a namespace names."""
        return hosts.resolve(host, namespace, self.config.domain)

    def service_of(self, host: str) -> tuple[str, str] | None:
        """(namespace, name) of the service of the cluster with a full name; None for other hosts."""
        parts = host.split(".")
        if "*" in host or parts[2:] != ["svc", *self.config.domain.split(".")]:
            return None
        return parts[1], parts[0]

    def named(self, namespace: str, given: bool) -> dict[str, str]:
        """The namespace in new metadata; left out if the sources leave it out, so that an apply decides."""
        return {"namespace": namespace} if given or namespace != self.namespace else {}


def scope_of(documents: Iterable[Document], namespace: str) -> Scope:
    """The scope of documents: options of a ConfigMap `istio` hold. Raises ValueError with the option that is not valid."""
    for document in documents:
        if document.kind == "ConfigMap" and document.name == "istio":
            return Scope(namespace, mesh_config.parse(str(mapping(document.body.get("data")).get("mesh") or "")))
    return Scope(namespace)


def typed(documents: Iterable[Document], scope: Scope) -> Iterator[tuple[Key, Object]]:
    """The objects that the mesh reads, as far as they can be decoded."""
    for document in documents:
        parsed = manifests.typed(document.body, scope.namespace)
        if parsed is not None and not isinstance(parsed, Finding):
            yield parsed


def services(documents: Iterable[Document], scope: Scope) -> dict[tuple[str, str], core.Service]:
    """Services by (namespace, name)."""
    found = typed((d for d in documents if d.kind == "Service" and d.group == ""), scope)
    return {(key.namespace, key.name): obj for key, obj in found if isinstance(obj, core.Service)}


def workload_labels(documents: Iterable[Document], scope: Scope) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(namespace, service account, labels) of pods, and of the pods of workloads."""
    for document in documents:
        pod = document.body
        if document.kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"):
            pod = mapping(document.spec.get("template"))
        elif document.kind != "Pod":
            continue
        labels = mapping(mapping(pod.get("metadata")).get("labels"))
        account = str(mapping(pod.get("spec")).get("serviceAccountName") or "default")
        own = {str(k): str(v) for k, v in labels.items() if not str(k).endswith("template-hash")}
        yield document.key(scope.namespace).namespace, account, own


def mapping(value: Any) -> dict[str, Any]:
    """A value if it is a map, else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[dict[str, Any]]:
    """The maps of a list; none for other values."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The texts of a list; none for other values."""
    return [str(one) for one in value] if isinstance(value, list) else []


def number(value: Any) -> float:
    """A number, also as text; 0 for other values, which the validation of the object names."""
    try:
        return float(value) if isinstance(value, (int, float, str)) else 0.0
    except ValueError:
        return 0.0


def without_empty(body: Mapping[str, Any]) -> dict[str, Any]:
    """A map without the values None, {}, [] and ''."""
    return {k: v for k, v in body.items() if v is not None and v not in ({}, [], "")}


def made(api_version: str, kind: str, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an object."""
    return {"apiVersion": api_version, "kind": kind, "metadata": without_empty(metadata), "spec": dict(spec)}


def body_of(obj: Object, name: str, namespace: str | None) -> dict[str, Any]:
    """The body of a typed object, under a name, without the metadata that a server sets; `namespace`: None leaves it out."""
    kind = _TYPED[type(obj)]
    metadata = {"name": name, "namespace": namespace, "labels": dict(obj.metadata.labels)}
    kept = {k: v for k, v in obj.metadata.annotations.items() if not k.startswith("sailcloth.io/")}
    spec = mapping(msgspec.to_builtins(obj)).get("spec") or {}
    return made(kind.api_version, kind.name, {**metadata, "annotations": kept}, plain(spec))


def plain(value: Any) -> Any:
    """A value with lists for tuples."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def slug(text: str) -> str:
    """A text as a name of an object."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:253] or "x"


class Names:
    """Names for new objects that no object of the input has."""

    def __init__(self, documents: Iterable[Document], scope: Scope) -> None:
        self._taken = {document.key(scope.namespace) for document in documents}

    def free(self, kind: str, namespace: str, wanted: str) -> str:
        """The wanted name, with a number if it is taken."""
        name, number = slug(wanted), 1
        while Key(kind, namespace, name) in self._taken:
            number += 1
            name = f"{slug(wanted)}-{number}"
        self._taken.add(Key(kind, namespace, name))
        return name


def placed(documents: list[Document], consumed: set[int], converted: Iterable[Document]) -> list[Document]:
    """The documents without those at the consumed positions; the converted ones take the place of the first of them."""
    if not consumed:
        return documents
    first = min(consumed)
    before = [d for i, d in enumerate(documents) if i not in consumed and i < first]
    return [*before, *converted, *(d for i, d in enumerate(documents) if i not in consumed and i > first)]
