"""Installs the Gateway API's CustomResourceDefinitions in a new cluster. Whoever applies others over them, or deletes them, has them
so: nothing is installed a second time, and no field manager owns them.
"""

from __future__ import annotations

import lzma
from importlib import resources
from typing import Any

import orjson

from sailcloth.local.apiserver.writes.rest_storage import RestStorage

_INSTALLED = "sailcloth.io/gateway-api"  # an annotation of the namespace kube-system
_BUNDLE = "gateway.networking.k8s.io/bundle-version"


def definitions() -> list[dict[str, Any]]:
    """The definitions of the standard channel."""
    packed = resources.files("sailcloth.local.apiserver").joinpath("data/gateway-api.json.xz").read_bytes()
    loaded: list[dict[str, Any]] = orjson.loads(lzma.decompress(packed))
    return loaded


def install(storage: RestStorage) -> None:
    """Install the definitions that do not exist, once for a cluster."""
    holder = storage.store.get("namespaces", "", "kube-system")
    if holder is None or _INSTALLED in (holder["metadata"].get("annotations") or {}):
        return
    version = ""
    for definition in definitions():
        version = definition["metadata"]["annotations"][_BUNDLE]
        storage.install_definition(definition)
    metadata = holder["metadata"]
    annotations = {**(metadata.get("annotations") or {}), _INSTALLED: version}
    storage.store.put("namespaces", {**holder, "metadata": {**metadata, "annotations": annotations}})
