"""Roles and bindings. What they allow is the authorizer's business."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.lib.schemacheck import go

from ..field_errors import FieldError, invalid, required, unsupported
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


def _validate_role(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    for index, rule in enumerate(obj.get("rules") or ()):
        path, urls = f"rules[{index}]", rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if urls:
            if obj.get("kind") == "Role":
                yield invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
            if any(rule.get(key) for key in ("apiGroups", "resources", "resourceNames")):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, text)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _validate_binding(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    reference, namespaced = obj.get("roleRef") or {}, obj.get("kind") == "RoleBinding"
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if reference.get("apiGroup") != GROUP:
        yield unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (GROUP,))
    if reference.get("kind") not in kinds:
        yield unsupported("roleRef.kind", reference.get("kind") or "", kinds)
    if not reference.get("name"):
        yield required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or ()):
        path, kind = f"subjects[{index}]", subject.get("kind")
        group = "" if kind == "ServiceAccount" else GROUP
        if not subject.get("name"):
            yield required(f"{path}.name")
        if kind not in ("ServiceAccount", "User", "Group"):
            yield unsupported(f"{path}.kind", kind or "", ("ServiceAccount", "User", "Group"))
        elif (subject.get("apiGroup") or "") != group:
            yield unsupported(f"{path}.apiGroup", subject.get("apiGroup") or "", (group,))
        if kind == "ServiceAccount" and not namespaced and not subject.get("namespace"):
            yield required(f"{path}.namespace")
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
    columns=(CREATED_AT,),
    grants=_ADMIN,
    name_rule=PATH_SEGMENT,
    validate=_validate_role,
)
ROLE_BINDING = Kind(
    group=GROUP,
    plural="rolebindings",
    kind="RoleBinding",
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
    namespaced=False,
    columns=(CREATED_AT,),
    name_rule=PATH_SEGMENT,
    validate=_validate_role,
)
CLUSTER_ROLE_BINDING = Kind(
    group=GROUP,
    plural="clusterrolebindings",
    kind="ClusterRoleBinding",
    namespaced=False,
    columns=_BINDING_COLUMNS,
    name_rule=PATH_SEGMENT,
    defaults=_binding_defaults,
    validate=_validate_binding,
)
KINDS = (ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)
