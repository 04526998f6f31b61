"""Roles and bindings. What they allow is the authorizer's business."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.lib.schemacheck import go

from ..field_errors import FieldError
from ..unstructured import Unstructured
from .columns import AGE, CREATED_AT, text, wide
from .record import PATH_SEGMENT, READ, WRITE, Cell, Grant, Kind

GROUP = "rbac.authorization.k8s.io"


def _binding_defaults(obj: Unstructured) -> None:
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = GROUP
        if (
            subject.get("kind") == "ServiceAccount"
            and obj.get("kind") == "RoleBinding"
            and not subject.get("namespace")
        ):
            subject["namespace"] = obj["metadata"].get("namespace", "")
    if isinstance(obj.get("roleRef"), dict):
        obj["roleRef"]["apiGroup"] = obj["roleRef"].get("apiGroup") or GROUP


def _subjects(kind: str) -> Cell:
    def cell(obj: Unstructured) -> str:
        subjects = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        return ", ".join(
            f"{s.get('namespace', '')}/{s['name']}" if kind == "ServiceAccount" else s["name"] for s in subjects
        )

    return cell


def _role_reference(obj: Unstructured) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


_BINDING_COLUMNS = (
    text("Role", _role_reference),
    AGE,
    wide("Users", _subjects("User")),
    wide("Groups", _subjects("Group")),
    wide("ServiceAccounts", _subjects("ServiceAccount")),
)


def _validate_binding(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    if old is not None and old.get("roleRef") != obj.get("roleRef"):
        given = obj.get("roleRef") or {}
        fields = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
        shown = ", ".join(f"{name}:{go(given.get(key, ''))}" for name, key in fields)
        yield "roleRef", "FieldValueInvalid", f"Invalid value: rbac.RoleRef{{{shown}}}: cannot change roleRef"


_ADMIN = (Grant("admin", (*WRITE, *READ)),)
ROLE = Kind(
    group=GROUP,
    plural="roles",
    kind="Role",
    package="api.rbac",
    columns=(CREATED_AT,),
    grants=_ADMIN,
    name_rule=PATH_SEGMENT,
)
ROLE_BINDING = Kind(
    group=GROUP,
    plural="rolebindings",
    kind="RoleBinding",
    package="api.rbac",
    columns=_BINDING_COLUMNS,
    grants=_ADMIN,
    name_rule=PATH_SEGMENT,
    defaults=_binding_defaults,
    validate=_validate_binding,
)
CLUSTER_ROLE = Kind(
    group=GROUP,
    plural="clusterroles",
    kind="ClusterRole",
    package="api.rbac",
    namespaced=False,
    columns=(CREATED_AT,),
    name_rule=PATH_SEGMENT,
)
CLUSTER_ROLE_BINDING = Kind(
    group=GROUP,
    plural="clusterrolebindings",
    kind="ClusterRoleBinding",
    package="api.rbac",
    namespaced=False,
    columns=_BINDING_COLUMNS,
    name_rule=PATH_SEGMENT,
    defaults=_binding_defaults,
    validate=_validate_binding,
)
KINDS = (ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)
