"""The roles that every cluster has, as objects, and the rules of aggregated roles, kept in step with what they gather."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from .selectors import label_selector
from .storage import Store

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLES = f"clusterroles.{GROUP}"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


_WORKLOADS = ["daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale"]  # fmt: skip
_CORE = ["configmaps", "endpoints", "persistentvolumeclaims", "pods", "serviceaccounts", "services"]
_VIEW = [
    _rule("", [*_CORE, "persistentvolumeclaims/status", "services/status"], _READ),
    _rule("", ["events", "limitranges", "namespaces/status", "pods/log", "pods/status", "resourcequotas", "resourcequotas/status"], _READ),
    _rule("", ["namespaces"], _READ),
    _rule("discovery.k8s.io", ["endpointslices"], _READ),
    _rule("apps", ["controllerrevisions", *_WORKLOADS, *(f"{w}/status" for w in _WORKLOADS if "/" not in w)], _READ),
    _rule("autoscaling", ["horizontalpodautoscalers", "horizontalpodautoscalers/status"], _READ),
    _rule("batch", ["cronjobs", "cronjobs/status", "jobs", "jobs/status"], _READ),
    _rule("policy", ["poddisruptionbudgets", "poddisruptionbudgets/status"], _READ),
    _rule("networking.k8s.io", ["ingresses", "ingresses/status", "networkpolicies"], _READ),
]  # fmt: skip
_EDIT = [
    _rule("", ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], _READ),
    _rule("", ["serviceaccounts"], ["impersonate"]),
    _rule("", ["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], _WRITE),
    _rule("", ["pods/eviction", "serviceaccounts/token"], ["create"]),
    _rule("", ["configmaps", "events", "persistentvolumeclaims", "secrets", "serviceaccounts", "services", "services/proxy"], _WRITE),
    _rule("apps", [*_WORKLOADS, "deployments/rollback"], _WRITE),
    _rule("autoscaling", ["horizontalpodautoscalers"], _WRITE),
    _rule("batch", ["cronjobs", "jobs"], _WRITE),
    _rule("policy", ["poddisruptionbudgets"], _WRITE),
    _rule("networking.k8s.io", ["ingresses", "networkpolicies"], _WRITE),
    _rule("coordination.k8s.io", ["leases"], [*_WRITE, *_READ]),
]  # fmt: skip
_ADMIN = [
    _rule("authorization.k8s.io", ["localsubjectaccessreviews"], ["create"]),
    _rule(GROUP, ["rolebindings", "roles"], [*_WRITE, *_READ]),
]
_SELF = [
    _rule("authorization.k8s.io", ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
    _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]  # fmt: skip


def built_in() -> Iterator[tuple[str, Object]]:
    """(resource, object) of every role and binding that a new cluster has."""
    every = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    yield _role("cluster-admin", every)
    for name, rules in (("admin", _ADMIN), ("edit", _EDIT), ("view", _VIEW)):
        yield _role(f"system:aggregate-to-{name}", rules, **{f"{GROUP}/aggregate-to-{name}": "true"})
    yield _gathered("view", **{f"{GROUP}/aggregate-to-edit": "true"})
    yield _gathered("edit", **{f"{GROUP}/aggregate-to-admin": "true"})
    yield _gathered("admin")
    yield _role("system:basic-user", _SELF)
    yield _role("system:discovery", [{"nonResourceURLs": _DISCOVERY, "verbs": ["get"]}])
    yield _role("system:public-info-viewer", [{"nonResourceURLs": _PUBLIC, "verbs": ["get"]}])
    bound = {
        "cluster-admin": ["system:masters"],
        "system:public-info-viewer": ["system:authenticated", "system:unauthenticated"],
    }
    bound |= {name: ["system:authenticated"] for name in ("system:basic-user", "system:discovery")}
    for name, groups in bound.items():
        subjects = [{"apiGroup": GROUP, "kind": "Group", "name": g} for g in groups]
        reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
        metadata = {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}
        yield f"clusterrolebindings.{GROUP}", {"metadata": metadata, "subjects": subjects, "roleRef": reference}


def _role(name: str, rules: list[Object], **labels: str) -> tuple[str, Object]:
    metadata = {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels}}
    return CLUSTER_ROLES, {"metadata": metadata, "rules": copy.deepcopy(rules)}


def _gathered(name: str, **labels: str) -> tuple[str, Object]:
    resource, made = _role(name, [], **labels)
    selector = {"matchLabels": {f"{GROUP}/aggregate-to-{name}": "true"}}
    return resource, {**made, "aggregationRule": {"clusterRoleSelectors": [selector]}}


def aggregate(store: Store) -> None:
    """Give every aggregated role the rules of the roles that it gathers. Roles may gather aggregated ones in turn."""
    for _ in range(8):
        changed = False
        for role in store.all(CLUSTER_ROLES):
            if role.get("aggregationRule"):
                rules = _gather(store, role)
                if rules != role.get("rules"):
                    new = copy.deepcopy(role)
                    new["rules"] = rules
                    store.put(CLUSTER_ROLES, new)
                    changed = True
        if not changed:
            return


def _gather(store: Store, role: Object) -> list[Object]:
    out: list[Object] = []
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        match = label_selector(selector)
        for other in store.all(CLUSTER_ROLES):
            if other["metadata"]["name"] != role["metadata"]["name"] and match(other["metadata"].get("labels") or {}):
                out += [copy.deepcopy(r) for r in other.get("rules") or () if r not in out]
    return out
