"""Rules across the fields of pod specs, which pods and the templates of workloads have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from fractions import Fraction
from typing import Any

from sailcloth.lib import quantity
from sailcloth.lib.schemacheck import go

from ..field_errors import FieldError, invalid
from ..unstructured import Unstructured

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_CHOICES = {
    "restartPolicy": ("Always", "Never", "OnFailure"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
}


def validate_pod_spec(spec: Unstructured, path: str, claims: Set[Any] = frozenset()) -> Iterator[FieldError]:
    if not spec.get("containers"):
        yield f"{path}.containers", "FieldValueRequired", "Required value"
    for key, known in _CHOICES.items():
        if spec.get(key) and spec[key] not in known:
            listed = ", ".join(f'"{k}"' for k in known)
            text = f"Unsupported value: {go(spec[key])}: supported values: {listed}"
            yield f"{path}.{key}", "FieldValueNotSupported", text
    volumes = {v.get("name") for v in spec.get("volumes") or ()} | claims
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            where, name = f"{path}.{group}[{index}]", str(container.get("name") or "")
            if not name:
                yield f"{where}.name", "FieldValueRequired", "Required value"
            elif len(name) > 63 or not _LABEL.fullmatch(name):
                text = f"Invalid value: {go(name)}: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                yield f"{where}.name", "FieldValueInvalid", text
            elif name in names:
                yield f"{where}.name", "FieldValueDuplicate", f"Duplicate value: {go(name)}"
            names.add(name)
            if not container.get("image"):
                yield f"{where}.image", "FieldValueRequired", "Required value"
            yield from _container(container, where, volumes)


def _container(container: Unstructured, where: str, volumes: set[Any]) -> Iterator[FieldError]:
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if isinstance(number, int) and not 0 < number < 65536:
            text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield f"{where}.ports[{index}].containerPort", "FieldValueInvalid", text
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            text = f"Not found: {go(mount.get('name') or '')}"
            yield f"{where}.volumeMounts[{index}].name", "FieldValueNotFound", text
    yield from _resources(container.get("resources") or {}, f"{where}.resources")


def _resources(resources: Unstructured, path: str) -> Iterator[FieldError]:
    amounts: dict[str, dict[str, Fraction]] = {"limits": {}, "requests": {}}
    for kind, parsed in amounts.items():
        for name, amount in (resources.get(kind) or {}).items():
            try:
                parsed[name] = quantity.parse(str(amount))
            except ValueError as error:
                yield invalid(f"{path}.{kind}[{name}]", str(amount), str(error))
    for name, request in amounts["requests"].items():
        if name in amounts["limits"] and request > amounts["limits"][name]:
            shown, limit = resources["requests"][name], resources["limits"][name]
            yield invalid(f"{path}.requests", str(shown), f"must be less than or equal to {name} limit of {limit}")
