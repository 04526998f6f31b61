"""The default roles and bindings of a cluster, and the aggregation of ClusterRoles by their aggregationRule."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from ..kinds import KINDS
from ..kinds.rbac import CLUSTER_ROLE, GROUP
from ..label_selectors import label_selector
from ..storage import Store
from ..unstructured import Unstructured

CLUSTER_ROLES = CLUSTER_ROLE.group_resource
TELEMETRY = "sailcloth:telemetry"  # user, group and role of the process that scrapes pods
_ROLES = ("admin", "edit", "view")
_REVIEWS = {"admin": ("authorization.k8s.io", ["localsubjectaccessreviews"], ["create"])}


def _rule(group: str, resources: list[str], verbs: list[str]) -> Unstructured:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


_SELF = [
    _rule("authorization.k8s.io", ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
    _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]  # fmt: skip


def _granted(role: str) -> list[Unstructured]:
    """The rules of a default role, as the records of the kinds grant them; one for each group and set of verbs."""
    granted: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for kind in KINDS:
        for grant in kind.grants:
            if grant.role == role:
                names = (f"{kind.plural}/{name}" if name else kind.plural for name in grant.names)
                granted.setdefault((kind.group, grant.verbs), {}).update(dict.fromkeys(names))
    rules = [_rule(group, list(names), list(verbs)) for (group, verbs), names in granted.items()]
    return rules + ([_rule(*_REVIEWS[role])] if role in _REVIEWS else [])


def bootstrap_policy() -> Iterator[tuple[str, Unstructured]]:
    """(resource, object) of every role and binding that a new cluster has."""
    every = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    yield _role("cluster-admin", every)
    for name in _ROLES:
        yield _role(f"system:aggregate-to-{name}", _granted(name), **{f"{GROUP}/aggregate-to-{name}": "true"})
    yield _aggregated_role("view", **{f"{GROUP}/aggregate-to-edit": "true"})
    yield _aggregated_role("edit", **{f"{GROUP}/aggregate-to-admin": "true"})
    yield _aggregated_role("admin")
    yield _role("system:basic-user", _SELF)
    yield _role("system:discovery", [{"nonResourceURLs": _DISCOVERY, "verbs": ["get"]}])
    yield _role("system:public-info-viewer", [{"nonResourceURLs": _PUBLIC, "verbs": ["get"]}])
    yield _role(TELEMETRY, [_rule("", ["pods"], ["get", "list", "watch"])])
    bound = {
        TELEMETRY: [TELEMETRY],
        "cluster-admin": ["system:masters"],
        "system:public-info-viewer": ["system:authenticated", "system:unauthenticated"],
    }
    bound |= {name: ["system:authenticated"] for name in ("system:basic-user", "system:discovery")}
    for name, groups in bound.items():
        subjects = [{"apiGroup": GROUP, "kind": "Group", "name": g} for g in groups]
        reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
        metadata = {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}
        yield f"clusterrolebindings.{GROUP}", {"metadata": metadata, "subjects": subjects, "roleRef": reference}


def _role(name: str, rules: list[Unstructured], **labels: str) -> tuple[str, Unstructured]:
    metadata = {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels}}
    return CLUSTER_ROLES, {"metadata": metadata, "rules": copy.deepcopy(rules)}


def _aggregated_role(name: str, **labels: str) -> tuple[str, Unstructured]:
    resource, role = _role(name, [], **labels)
    selector = {"matchLabels": {f"{GROUP}/aggregate-to-{name}": "true"}}
    return resource, {**role, "aggregationRule": {"clusterRoleSelectors": [selector]}}


def aggregate(store: Store) -> None:
    """Set the rules of every aggregated role from the roles that it selects, which may be aggregated themselves."""
    for _ in range(8):
        changed = False
        for role in store.all(CLUSTER_ROLES):
            if role.get("aggregationRule"):
                rules = _aggregated_rules(store, role)
                if rules != role.get("rules"):
                    new = copy.deepcopy(role)
                    new["rules"] = rules
                    store.put(CLUSTER_ROLES, new)
                    changed = True
        if not changed:
            return


def _aggregated_rules(store: Store, role: Unstructured) -> list[Unstructured]:
    out: list[Unstructured] = []
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        match = label_selector(selector)
        for other in store.all(CLUSTER_ROLES):
            if other["metadata"]["name"] != role["metadata"]["name"] and match(other["metadata"].get("labels") or {}):
                out += [copy.deepcopy(r) for r in other.get("rules") or () if r not in out]
    return out
