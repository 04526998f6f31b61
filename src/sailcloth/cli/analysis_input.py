"""Reads what `analyze` and `validate` judge: objects of files with their places, and those of a cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sailcloth.analysis.analyzers import Document, Origin
    from sailcloth.api.meta import Finding, Key
    from sailcloth.kube import Client, Resource
    from sailcloth.lib.yaml_positions import Positions

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 64 << 20  # bytes of one file


@dataclass
class Files:
    """Objects of files. `errors`: (file, problem) of files that could not be read or parsed."""

    documents: list[Document] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    _positions: dict[str, Positions] = field(default_factory=dict)
    _origins: dict[Key, Origin] = field(default_factory=dict)

    def reference(self, finding: Finding) -> str:
        """`file:line` of a finding's field; empty if its object is of no file."""
        from sailcloth.lib.yaml_positions import Positions

        if not self._origins:
            self._origins = {d.key: d.origin for d in self.documents if d.origin is not None}
        origin = self._origins.get(finding.resource)
        if origin is None:
            return ""
        if origin.file not in self._positions:
            self._positions[origin.file] = Positions(self.texts[origin.file])
        path = ".".join(part for part in (origin.prefix, finding.path) if part)
        return f"{origin.file}:{self._positions[origin.file].line(origin.document, path)}"


def read(paths: list[str], recursive: bool, namespace: str) -> Files:
    """The objects of files, and of the YAML and JSON files of directories; `-` is standard input."""
    from sailcloth.analysis import manifests
    from sailcloth.analysis.analyzers import Origin, document

    out = Files()
    for path in paths:
        for name in _expanded(path, recursive):
            try:
                out.texts[name] = _text(name)
                located = manifests.located(out.texts[name])
            except (OSError, ValueError) as error:
                out.errors.append((name, getattr(error, "strerror", None) or str(error)))
                continue
            for index, prefix, body in located:
                if not body.get("kind") or not body.get("apiVersion"):
                    out.errors.append((name, f"document {index + 1} has no apiVersion and kind"))
                    continue
                out.documents.append(document(body, namespace, Origin(name, index, prefix)))
    return out


def _expanded(path: str, recursive: bool) -> list[str]:
    folder = Path(path)
    if path == "-" or not folder.is_dir():
        return [path]
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(str(p) for p in found if p.suffix in SUFFIXES and p.is_file())


def _text(name: str) -> str:
    if name == "-":
        return sys.stdin.read(LARGEST)
    if Path(name).is_dir():
        raise ValueError("is a directory")
    if Path(name).stat().st_size > LARGEST:
        raise ValueError(f"is larger than {LARGEST >> 20} MiB")
    return Path(name).read_text()


async def from_cluster(api: Client, root: str) -> tuple[list[Document], frozenset[str]]:
    """(objects of all kinds that analyzers read, kinds that this user may not read)."""
    import asyncio

    from sailcloth.analysis.analyzers import document
    from sailcloth.kube import ApiError

    async def listed(resource: Resource, selector: str) -> list[dict[str, Any]] | None:
        namespace = root if resource.kind == "ConfigMap" else ""
        try:
            return (await api.list(resource, namespace, field_selector=selector))[0]
        except ApiError as error:
            if error.status == 404:
                return []
            if error.status == 403:
                return None
            raise

    kinds = _resources()
    results = await asyncio.gather(*(listed(*each) for each in kinds))
    documents, forbidden = [], set()
    for (resource, _), items in zip(kinds, results, strict=True):
        if items is None:
            forbidden.add(resource.kind)
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        documents += [document({**head, **item}) for item in items or ()]
    return documents, frozenset(forbidden)


async def services(api: Client) -> list[Document]:
    """The Services of a cluster."""
    from sailcloth.analysis.analyzers import document
    from sailcloth.kube.resources import SERVICES

    items, _ = await api.list(SERVICES)
    return [document({"apiVersion": "v1", "kind": "Service", **item}) for item in items]


def _resources() -> list[tuple[Resource, str]]:
    """The kinds that analyzers read, with field selectors."""
    from sailcloth.api import kinds
    from sailcloth.kube import Resource
    from sailcloth.kube import resources as known

    read = (*kinds.CORE_KINDS, *kinds.SERVED_KINDS, *kinds.LATER_KINDS, *kinds.OPTIONAL_KINDS)
    out = {
        (k.group, k.name): (Resource(k.group, k.versions[0], k.plural, k.name, k.namespaced), k.field_selector)
        for k in read
        if k.name not in ("EndpointSlice", "Node")
    }
    more = (
        known.SERVICEACCOUNTS,
        known.CRDS,
        known.MUTATING_WEBHOOKS,
        known.VALIDATING_WEBHOOKS,
        *(Resource("apps", "v1", f"{k.lower()}s", k) for k in ("Deployment", "StatefulSet", "DaemonSet")),
        *(Resource("batch", "v1", f"{k.lower()}s", k) for k in ("Job", "CronJob")),
        *(Resource("gateway.networking.k8s.io", "v1", f"{k.lower()}s", k) for k in ("Gateway", "GRPCRoute")),
        Resource("gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", namespaced=False),
    )
    for resource in more:
        out.setdefault((resource.group, resource.kind), (resource, ""))
    return list(out.values())
