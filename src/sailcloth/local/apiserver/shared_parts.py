"""Keeps parts that thousands of objects have alike once: field sets of managers, and short texts such as a namespace.

Stored objects are never changed, so parts of them may belong to several. Must not change what an object equals.
"""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import Any

import orjson

from .unstructured import Unstructured

_OF_METADATA = ("namespace", "creationTimestamp")
_OF_MANAGER = ("manager", "operation", "apiVersion", "time", "fieldsType", "subresource")


def share(obj: Unstructured) -> None:
    """Replace parts of an object by those that other objects have, in place."""
    metadata = obj["metadata"]
    _share_texts(obj, ("kind", "apiVersion"))
    _share_texts(metadata, _OF_METADATA)
    for entry in metadata.get("managedFields") or ():
        _share_texts(entry, _OF_MANAGER)
        if "fieldsV1" in entry:
            entry["fieldsV1"] = _field_set(orjson.dumps(entry["fieldsV1"]))


def _share_texts(part: Unstructured, names: tuple[str, ...]) -> None:
    for name in names:
        text = part.get(name)
        if type(text) is str:
            part[name] = intern(text)


@lru_cache(maxsize=4096)
def _field_set(encoded: bytes) -> Any:
    return orjson.loads(encoded)
