"""Rules of pods' volumes and their mounts. Names become parts of paths on the node, so that each must be a single one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..field_errors import FieldError, duplicate, forbidden, invalid, not_found, required
from ..unstructured import Unstructured

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_TEXT = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
_KEYED = ("configMap", "secret", "downwardAPI")


def label(path: str, name: Any) -> Iterator[FieldError]:
    """For a name that must be a DNS label."""
    if not name:
        yield required(path)
    elif len(name) > 63 or not _LABEL.fullmatch(name):
        yield invalid(path, name, _LABEL_TEXT)


def validate_volumes(spec: Unstructured, path: str) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where = f"{path}.volumes[{index}]"
        yield from label(f"{where}.name", volume.get("name"))
        if volume.get("name") in names:
            yield duplicate(f"{where}.name", volume["name"])
        names.add(volume.get("name"))
        kinds = [k for k in volume if k != "name"]
        for kind in kinds[1:]:
            yield forbidden(f"{where}.{kind}", "may not specify more than 1 volume type")
        yield from _items(volume, where)
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            inside = f"{where}.projected.sources[{number}]"
            yield from _items(source, inside)
            if "serviceAccountToken" in source:
                token = source["serviceAccountToken"].get("path")
                yield from _local(f"{inside}.serviceAccountToken.path", token, keyed=True)


def _items(volume: Unstructured, where: str) -> Iterator[FieldError]:
    for kind in _KEYED:
        for index, item in enumerate((volume.get(kind) or {}).get("items") or ()):
            yield from _local(f"{where}.{kind}.items[{index}].path", item.get("path"), keyed=True)


def _local(path: str, value: Any, *, keyed: bool = False) -> Iterator[FieldError]:
    """For a path below a volume; `keyed`: of a file that is written there."""
    if not value:
        if keyed:
            yield required(path)
        return
    if value.startswith("/"):
        yield invalid(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield invalid(path, value, "must not contain '..'")
    elif keyed and value.startswith(".."):
        yield invalid(path, value, "must not start with '..'")
    if keyed and not value.replace("/", "").strip("."):
        yield invalid(path, value, "must name a file")


def validate_mounts(container: Unstructured, where: str, volumes: set[Any]) -> Iterator[FieldError]:
    places: set[Any] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        path = f"{where}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            yield not_found(f"{path}.name", mount.get("name") or "")
        if not mount.get("mountPath"):
            yield required(f"{path}.mountPath")
        elif mount["mountPath"] in places:
            yield invalid(f"{path}.mountPath", mount["mountPath"], "must be unique")
        places.add(mount.get("mountPath"))
        if mount.get("subPath") and mount.get("subPathExpr"):
            yield invalid(f"{path}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
        for name in ("subPath", "subPathExpr"):
            yield from _local(f"{path}.{name}", mount.get(name))
