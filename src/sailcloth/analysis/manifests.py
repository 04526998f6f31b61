"""Parses manifests into typed objects: several YAML documents, Lists, any served version. Must not need a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from sailcloth.api import kinds
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.api.nulls import without_nulls
from sailcloth.lib import bounded_yaml


def documents(text: str) -> list[dict[str, Any]]:
    """All objects of a YAML text, including the items of a List. Raises ValueError with line and column for bad YAML."""
    return [obj for _, _, obj in located(text)]


def located(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """(index of the YAML document, path in it, object) for all objects of a text. The path is empty except in a List.

    Raises ValueError with line and column for bad YAML."""
    objects: list[tuple[int, str, dict[str, Any]]] = []
    try:
        for index, doc in enumerate(bounded_yaml.load_all(text)):
            if (
                isinstance(doc, dict)
                and str(doc.get("kind", "")).endswith("List")
                and isinstance(doc.get("items"), list)
            ):
                objects += [(index, f"items[{n}]", i) for n, i in enumerate(doc["items"]) if isinstance(i, dict)]
            elif isinstance(doc, dict):
                objects.append((index, "", doc))
            elif doc is not None:
                raise ValueError(f"a document is a {type(doc).__name__}, not an object with apiVersion and kind")
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
    return objects


def typed(obj: dict[str, Any], namespace: str = "default") -> tuple[Key, Object] | Finding | None:
    """The typed object; None for kinds that the mesh does not read, a Finding if it does not match its kind's schema."""
    kind = kinds.kind_of(obj)
    if kind is None:
        return None
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    object_namespace = str(metadata.get("namespace") or namespace) if kind.namespaced else ""
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    key = Key(kind.key_kind, object_namespace, name)
    stamp = metadata.get("creationTimestamp")
    metadata = {**metadata, "namespace": object_namespace, "creationTimestamp": str(stamp) if stamp else None}
    try:
        # Converts through JSON, so that YAML's numeric keys and dates become what an API server receives.
        plain = msgspec.json.decode(msgspec.json.encode({**obj, "metadata": metadata}))
        return key, msgspec.convert(without_nulls(plain), kind.type)
    except (msgspec.ValidationError, TypeError, ValueError) as error:  # ValueError: what JSON does not have
        text, _, path = str(error).partition(" - at `$.")
        return Finding(
            code="SAIL0001",
            severity="Error",
            resource=key,
            path=path.rstrip("`"),
            text=text,
            fix="See kubectl explain.",
        )


def load(texts: Iterable[str]) -> tuple[list[tuple[Key, Object]], list[Finding]]:
    """Typed objects and findings from several texts."""
    objects, findings = [], []
    for text in texts:
        for document in documents(text):
            parsed = typed(document)
            if isinstance(parsed, Finding):
                findings.append(parsed)
            elif parsed is not None:
                objects.append(parsed)
    return objects, findings
