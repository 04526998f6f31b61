"""Rules across the fields of pod specs, which pods and the templates of workloads have in common."""

from __future__ import annotations

from collections.abc import Iterator, Set
from fractions import Fraction
from typing import Any

from sailcloth.lib import quantity
from sailcloth.lib.schemacheck import go

from ..field_errors import FieldError, duplicate, invalid, required
from ..unstructured import Unstructured
from .amounts import validate_port
from .volume_validation import label, validate_mounts, validate_volumes

_LARGEST_ID = (1 << 31) - 1
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
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            yield from label(f"{path}.{name}", spec[name])
    yield from _identifiers(spec.get("securityContext") or {}, f"{path}.securityContext")
    yield from validate_volumes(spec, path)
    volumes = {v.get("name") for v in spec.get("volumes") or ()} | claims
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            where, name = f"{path}.{group}[{index}]", str(container.get("name") or "")
            yield from label(f"{where}.name", name)
            if name in names:
                yield f"{where}.name", "FieldValueDuplicate", f"Duplicate value: {go(name)}"
            names.add(name)
            if not container.get("image"):
                yield f"{where}.image", "FieldValueRequired", "Required value"
            yield from validate_container(container, where, volumes)


def validate_container(container: Unstructured, where: str, volumes: set[Any]) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        number, name = port.get("containerPort"), port.get("name")
        if name:
            yield from validate_port(f"{where}.ports[{index}].name", name)
            if name in names:
                yield duplicate(f"{where}.ports[{index}].name", name)
            names.add(name)
        if isinstance(number, int) and not 0 < number < 65536:
            text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield f"{where}.ports[{index}].containerPort", "FieldValueInvalid", text
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name")
        if not name:
            yield required(f"{where}.env[{index}].name")
        elif "=" in name or not name.isascii() or not name.isprintable():
            text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            yield invalid(f"{where}.env[{index}].name", name, text)
    for name, action in _actions(container):
        for way in ("httpGet", "tcpSocket", "grpc"):
            if way in action:
                yield from validate_port(f"{where}.{name}.{way}.port", action[way].get("port"))
    yield from _identifiers(container.get("securityContext") or {}, f"{where}.securityContext")
    yield from validate_mounts(container, where, volumes)
    yield from _resources(container.get("resources") or {}, f"{where}.resources")


def _actions(container: Unstructured) -> Iterator[tuple[str, Unstructured]]:
    """Probes and hooks."""
    hooks = container.get("lifecycle") or {}
    yield from ((p, container[p]) for p in ("livenessProbe", "readinessProbe", "startupProbe") if container.get(p))
    yield from ((f"lifecycle.{h}", hooks[h]) for h in ("postStart", "preStop") if hooks.get(h))


def _identifiers(context: Unstructured, path: str) -> Iterator[FieldError]:
    """Users and groups: -1 would mean the one that a process has already."""
    given = {k: context.get(k) for k in ("runAsUser", "runAsGroup", "fsGroup")}
    given |= {f"supplementalGroups[{n}]": g for n, g in enumerate(context.get("supplementalGroups") or ())}
    for name, number in given.items():
        if number is not None and not 0 <= number <= _LARGEST_ID:
            yield invalid(f"{path}.{name}", number, f"must be between 0 and {_LARGEST_ID}, inclusive")


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
