"""Common types of all objects: metadata, object keys, findings, and the small value types of Istio's API.

Must not know any particular kind.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal, NamedTuple, dataclass_transform

import msgspec
from msgspec import Meta


def D(description: str, **constraints: Any) -> Meta:
    """A field's description in the CRD, which `kubectl explain` shows, and its constraints."""
    return Meta(description=description, **constraints)


SERVED = "x-served-"
_numbers = itertools.count()


def Constraint(*rules: tuple[str, str], required: bool = False, **limits: Any) -> Meta:
    """Limits of a field that the API server checks: JSON schema keywords, and CEL rules as (expression, message). Only the served
    CRD has them, not the parser, because objects may be stored under an older CRD."""
    cel_rules = [{"rule": expression, "message": message} for expression, message in rules]
    schema = {**limits, "required": required, **({"x-kubernetes-validations": cel_rules} if cel_rules else {})}
    return Meta(
        extra_json_schema={f"{SERVED}{next(_numbers)}": schema}
    )  # a separate key for each, because a field may have several


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class _FrozenMeta(msgspec.StructMeta):
    """Sets the same class options for every API type."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        names = options.pop("names", {})
        options = {"frozen": True, "kw_only": True, "omit_defaults": True, **options}
        options["rename"] = lambda field: names.get(field) or _camel(field)
        return super().__new__(mcls, name, bases, namespace, **options)


def _camel(field: str) -> str:
    first, *others = field.rstrip("_").split("_")
    return first + "".join(part.capitalize() for part in others)


class Struct(msgspec.Struct, metaclass=_FrozenMeta):
    """Base of all API types: immutable, compared by value, camelCase in JSON; decoding ignores unknown fields.

    A field `from_` is `from` in JSON; `names={"cluster_ip": "clusterIP"}` overrides single names.
    """


class ObjectMeta(Struct):
    """The part of Kubernetes metadata that the mesh reads. Excludes resourceVersion, so that a status update is not a change."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Object(Struct):
    """Base of all kinds."""

    metadata: ObjectMeta = ObjectMeta()


class Key(NamedTuple):
    """Identifies an object: kind (such as `VirtualService`), namespace (empty if cluster-scoped), name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


Severity = Literal["Error", "Warning", "Info"]


class Finding(Struct):
    """A user's mistake as a value: what is wrong, where, and the fix. Never raised."""

    code: str
    severity: Severity
    resource: Key
    path: str
    text: str
    fix: str = ""

    def __str__(self) -> str:
        where = f"{self.resource}" + (f": {self.path}" if self.path else "")
        return f"{self.severity} [{self.code}] ({where}) {self.text}" + (f" {self.fix}" if self.fix else "")


ConstraintPort = Constraint(("0 < self && self <= 65535", "port must be between 1-65535"))
ConstraintDuration = Constraint(("duration(self) >= duration('1ms')", "must be a valid duration greater than 1ms"))
ConstraintLabels = Constraint(
    ("self.all(key, key.size() != 0)", "key must not be empty"),
    ("self.all(key, !key.contains('*'))", "wildcard not allowed in label key match"),
    maxProperties=4096,
)
# A rule at the values of a map costs little by the estimate of a Kubernetes API server, one over the whole map too much.
SelectorValue = Annotated[
    str, Constraint(("!self.contains('*')", "wildcard not allowed in label value match"), maxLength=63)
]
NotEmpty = Annotated[str, Constraint(minLength=1)]

PortNumber = Annotated[int, Meta(ge=0, le=65535)]
PercentNumber = Annotated[int, Meta(ge=0, le=100)]

Duration = Annotated[str, Meta(pattern=r"^(-?(\d+(\.\d+)?(h|m|s|ms|us|µs|ns))+|0)$")]
"""A Go-style duration such as `10s`, `1m30s`, `0.5s`."""

_UNITS = {"h": 3_600_000.0, "m": 60_000.0, "s": 1000.0, "ms": 1.0, "us": 0.001, "µs": 0.001, "ns": 0.000001}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")


def duration_ms(text: str | None) -> float | None:
    """A duration in milliseconds; None for None. Raises ValueError for a text that is not a duration."""
    if text is None:
        return None
    if text == "0":
        return 0.0
    total, end = 0.0, 1 if text.startswith("-") else 0
    sign = -1.0 if end else 1.0
    for match in _DURATION_PART.finditer(text, end):
        if match.start() != end:
            raise ValueError(f"not a duration: {text!r} (write for example 5s, 250ms or 1m30s)")
        total += float(match[1]) * _UNITS[match[2]]
        end = match.end()
    if end != len(text) or not text:
        raise ValueError(f"not a duration: {text!r} (write for example 5s, 250ms or 1m30s)")
    return sign * total


class StringMatch(Struct):
    """Matches a string; exactly one of the fields is set. Case-sensitive."""

    exact: Annotated[str | None, D("The whole string, exactly.")] = None
    prefix: Annotated[str | None, D("The beginning of the string.")] = None
    regex: Annotated[str | None, D("An RE2 regular expression that matches the whole string.")] = None


class Selector(Struct):
    """Selects workloads by labels."""

    match_labels: Annotated[
        dict[str, SelectorValue], D("Labels; a workload must have all of them."), ConstraintLabels
    ] = {}


class PortSelector(Struct):
    """Selects a port of a service by number."""

    number: Annotated[PortNumber | None, D("Port number of the service.")] = None
