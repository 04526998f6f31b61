"""Reads what `analyze` and `validate` judge: objects of files with their places, and those of a cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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

    async def listed(versions: list[Resource], selector: str) -> list[Document] | None:
        """The objects in the first version that is served; None if they may not be read."""
        for resource in versions:
            namespace = root if resource.kind == "ConfigMap" else ""
            try:
                items, _ = await api.list(resource, namespace, field_selector=selector)
            except ApiError as error:
                if error.status == 404:
                    continue
                if error.status == 403:
                    return None
                raise
            head = {"apiVersion": resource.api_version, "kind": resource.kind}
            return [document({**head, **item}) for item in items]
        return []

    kinds = _resources()
    results = await asyncio.gather(*(listed(*each) for each in kinds))
    forbidden = (versions[0].kind for (versions, _), found in zip(kinds, results, strict=True) if found is None)
    return [one for found in results for one in found or ()], frozenset(forbidden)


async def services(api: Client) -> list[Document]:
    """The Services of a cluster."""
    from sailcloth.analysis.analyzers import document
    from sailcloth.kube.resources import SERVICES

    items, _ = await api.list(SERVICES)
    return [document({"apiVersion": "v1", "kind": "Service", **item}) for item in items]


def _resources() -> list[tuple[list[Resource], str]]:
    """The kinds that analyzers read, in each version that a cluster may serve, with field selectors."""
    from sailcloth.api import kinds
    from sailcloth.kube import Resource
    from sailcloth.kube import resources as known

    read = (*kinds.CORE_KINDS, *kinds.SERVED_KINDS, *kinds.LATER_KINDS, *kinds.OPTIONAL_KINDS)
    out = [
        ([Resource(k.group, version, k.plural, k.name, k.namespaced) for version in k.versions], k.field_selector)
        for k in read
        if k.name not in ("EndpointSlice", "Node")
    ]
    apps, batch = ("apps", ("v1",)), ("batch", ("v1",))
    more = [
        *((apps, f"{kind.lower()}s", kind) for kind in ("Deployment", "StatefulSet", "DaemonSet")),
        *((batch, f"{kind.lower()}s", kind) for kind in ("Job", "CronJob")),
    ]
    for (group, versions), plural, kind in more:
        out.append(([Resource(group, v, plural, kind) for v in versions], ""))
    single = (known.SERVICEACCOUNTS, known.CRDS, known.MUTATING_WEBHOOKS, known.VALIDATING_WEBHOOKS)
    return [*out, *(([resource], "") for resource in single)]
