"""What is wrong with manifests, before any cluster sees them: the rules of admission, and what would be ignored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sailcloth.api import kinds, validation
from sailcloth.api.meta import Finding, Key
from sailcloth.mesh import mesh_config

UNREAD_KIND, UNREAD_OPTION, BAD_OPTIONS = "SAIL0002", "SAIL0003", "SAIL0004"


def of_documents(documents: Iterable[dict[str, Any]], namespace: str = "default") -> list[Finding]:
    """Findings of some unstructured objects: errors where admission would refuse one, warnings where something has no effect."""
    out: list[Finding] = []
    for obj in documents:
        kind = kinds.kind_of(obj)
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict):
            metadata = {}
        key = Key(
            str(obj.get("kind") or "?"), str(metadata.get("namespace") or namespace), str(metadata.get("name") or "")
        )
        if kind is None:
            text = f"{obj.get('apiVersion')} {obj.get('kind')} is not read by the mesh"
            out.append(Finding(code=UNREAD_KIND, severity="Info", resource=key, path="", text=text))
        elif key.kind == "ConfigMap" and key.name == "istio":
            out += of_options(key, obj)
        else:
            out += validation.check(obj, namespace)
    return out


def of_options(key: Key, config_map: dict[str, Any]) -> list[Finding]:
    """Findings of the mesh's options in their ConfigMap."""
    text = str((config_map.get("data") or {}).get("mesh") or "")
    try:
        mesh_config.parse(text)
    except ValueError as error:
        fix = "The options before stay in force."
        return [Finding(code=BAD_OPTIONS, severity="Error", resource=key, path="data.mesh", text=str(error), fix=fix)]
    return [
        Finding(
            code=UNREAD_OPTION,
            severity="Warning",
            resource=key,
            path=f"data.mesh.{name}",
            text="this option has no effect here",
        )
        for name in mesh_config.unread(text)
    ]
