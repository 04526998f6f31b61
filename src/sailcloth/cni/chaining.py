"""The plugin's entry in the node's network configuration. Pure: text in, text out.

Must not change anything else of what another plugin's installer has written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

TYPE = "istio-cni"
SUFFIXES = (".conf", ".conflist", ".json")  # as libcni reads them
Object = dict[str, Any]


def entry(exclude: Iterable[str], namespace: str, run_directory: str) -> Object:
    """The plugin's entry in a list. The capability asks the runtime for the annotations of pods."""
    return {
        "type": TYPE,
        "name": TYPE,
        "exclude_namespaces": list(exclude),
        "pod_namespace": namespace,
        "cni_agent_run_dir": run_directory,
        "capabilities": {"io.kubernetes.cri.pod-annotations": True},
    }


def first(names: Iterable[str]) -> str:
    """The file that the runtime reads: the first one by name; empty if there is none yet."""
    return min((n for n in names if n.endswith(SUFFIXES) and not n.startswith(".")), default="")


def chained(text: str, own: Object) -> str:
    """The configuration with the plugin as its last one; one of a single plugin becomes a list. Raises ValueError."""
    document = _parsed(text)
    if "plugins" in document:
        plugins = [p for p in document["plugins"] if p.get("type") != TYPE]
        document = {**document, "plugins": [*plugins, own]}
    else:
        head = {"cniVersion": document.pop("cniVersion", "0.3.1"), "name": document.get("name", "pods")}
        document = {**head, "plugins": [document, own]}
    return _text(document)


def unchained(text: str) -> str:
    """The configuration without the plugin; the same text if it has none. Raises ValueError."""
    document = _parsed(text)
    plugins = document.get("plugins", [])
    kept = [p for p in plugins if p.get("type") != TYPE]
    return text if len(kept) == len(plugins) else _text({**document, "plugins": kept})


def _parsed(text: str) -> Object:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    plugins = document.get("plugins", []) if isinstance(document, dict) else None
    if not isinstance(plugins, list) or not all(isinstance(p, dict) for p in plugins):
        raise ValueError("is no network configuration: it must be an object, and its plugins a list of objects")
    return dict(document)


def _text(document: Object) -> str:
    return json.dumps(document, indent=2) + "\n"
