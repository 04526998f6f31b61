"""Reads manifests into typed objects: several YAML documents, lists, any served version. No cluster needed."""

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
    """All objects of a YAML text; `kind: List` is taken apart. Raises ValueError with line and column for bad YAML."""
    out: list[dict[str, Any]] = []
    try:
        for doc in bounded_yaml.load_all(text):
            if (
                isinstance(doc, dict)
                and str(doc.get("kind", "")).endswith("List")
                and isinstance(doc.get("items"), list)
            ):
                out += [i for i in doc["items"] if isinstance(i, dict)]
            elif isinstance(doc, dict):
                out.append(doc)
            elif doc is not None:
                raise ValueError(f"a document is a {type(doc).__name__}, not an object with apiVersion and kind")
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
    return out


def typed(obj: dict[str, Any], namespace: str = "default") -> tuple[Key, Object] | Finding | None:
    """The typed object; None for kinds that the mesh does not read, a Finding if it does not fit its kind."""
    kind = kinds.kind_of(obj)
    if kind is None:
        return None
    metadata = obj.get("metadata") or {}
    own = str(metadata.get("namespace") or namespace) if kind.namespaced else ""
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    key = Key(kind.name, own, name)
    stamp = metadata.get("creationTimestamp")
    metadata = {**metadata, "namespace": own, "creationTimestamp": str(stamp) if stamp else None}
    try:
        # By way of JSON, so that number keys and dates of YAML become what an API server would see.
        plain = msgspec.json.decode(msgspec.json.encode({**obj, "metadata": metadata}))
        return key, msgspec.convert(without_nulls(plain), kind.type)
    except (msgspec.ValidationError, TypeError) as error:
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
        for doc in documents(text):
            made = typed(doc)
            if isinstance(made, Finding):
                findings.append(made)
            elif made is not None:
                objects.append(made)
    return objects, findings
