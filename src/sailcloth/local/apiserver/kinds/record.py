"""What the API server knows of a built-in kind, as one value. Discovery, tables, defaults, validation, field selectors, protobuf
and the default roles read these records; none of them names a kind itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..field_errors import FieldError
from ..unstructured import Unstructured

Cell = Callable[[Unstructured], Any]
Validate = Callable[[Unstructured, Unstructured | None], Iterator[FieldError]]  # new object, stored one if there is one
READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")


class Column(NamedTuple):
    """A column of `kubectl get`. One with a priority above 0 is shown by `-o wide` only."""

    name: str
    type: str
    priority: int
    cell: Cell


class FieldSelector(NamedTuple):
    """A field that objects are selected by: the text of an absent value, and the path if it is not the label."""

    absent: str = ""
    path: str = ""


class Subresource(NamedTuple):
    """A path below an object. Without a kind of its own it is the object's kind; `process`: its responses are no objects;
    `validates`: rules across fields hold for what is written here."""

    name: str
    kind: str = ""
    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str = ""
    version: str = ""
    process: bool = False
    validates: bool = True


class Grant(NamedTuple):
    """Verbs of a default role (view, edit or admin) on the resource, "", and on subresources."""

    role: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ("",)


class NameRule(NamedTuple):
    """What names a kind may have. Without a pattern any path segment will do."""

    pattern: str
    longest: int
    text: str


STATUS, SCALE = Subresource("status"), Subresource("scale", "Scale", group="autoscaling", version="v1")
SUBDOMAIN = NameRule(
    r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
    253,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
)
LABEL = NameRule(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    63,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
)
LABEL_1035 = NameRule(
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    63,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
)
PATH_SEGMENT = NameRule("", 0, "")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One version of a built-in kind."""

    group: str = ""
    version: str = "v1"
    plural: str
    kind: str
    package: str = ""  # of its published schema, if not the one of its group
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    columns: tuple[Column, ...] = ()  # without any: the age
    field_selectors: Mapping[str, FieldSelector] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    name_rule: NameRule = SUBDOMAIN
    generation: bool = False  # metadata.generation counts the changes of what is wanted
    has_spec: bool = False  # an absent spec is an empty one, as in Go
    has_status: bool = False  # an absent status is an empty one
    defaults: Callable[[Unstructured], None] | None = None  # fills in, in place; idempotent
    immutable: tuple[str, ...] = ()  # dotted paths of fields that keep their first value
    validate: Validate | None = None  # rules across fields
    validate_always: Validate | None = None  # the same, also where a write leaves the spec as it was
    restrict: Callable[[Unstructured, Unstructured, str], Unstructured] | None = None
    """(stored object, sent object, subresource) -> what a request to this path may change."""
    to_storage: Callable[[Unstructured], Unstructured] | None = None  # of a version that is stored as a newer one
    from_storage: Callable[[Unstructured], Unstructured] | None = None

    @property
    def group_resource(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def definition(self) -> str:
        """The name of the published schema: io.k8s.<package>.<version>.<kind>."""
        package = self.package or f"api.{self.group.partition('.')[0] or 'core'}"
        return f"io.k8s.{package}.{self.version}.{self.kind}"

    def apply_defaults(self, obj: Unstructured) -> None:
        """Fill in what a client may leave out, in place. Runs when an object is written, and again after admission webhooks."""
        if "spec" in obj and obj["spec"] is None:
            obj["spec"] = {}  # as Go decodes a null
        if "status" in obj and obj["status"] is None:
            del obj["status"]
        if self.has_spec:
            obj.setdefault("spec", {})
        if self.defaults is not None and (not self.has_spec or isinstance(obj["spec"], dict)):
            self.defaults(obj)
        if self.has_status:
            obj.setdefault("status", {})
