"""Role-based access: what a user may do, by the Role, ClusterRole and binding objects in the store. Reads, never writes.

Administrators and the cluster's components are in groups that may do everything. Discovery is open to every user who is
authenticated. Everything else needs a role; `default_roles` has those of a new cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..kinds.rbac import GROUP
from ..storage import Store
from ..unstructured import Unstructured
from .default_roles import CLUSTER_ROLES

PRIVILEGED_GROUPS = frozenset({"system:masters", "system:nodes"})
_ALL: Unstructured = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_URLS: Unstructured = {"verbs": ["*"], "nonResourceURLs": ["*"]}


@dataclass(frozen=True)
class Attributes:
    """The attributes of one request. `resource` is `plural` or `plural/subresource`; a non-resource request has only a `path`."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def forbidden_message(self, user: str) -> str:
        """The message of the 403 response, as in Kubernetes."""
        if self.path:
            return f'forbidden: User "{user}" cannot {self.verb} path "{self.path}"'
        plural = self.resource.partition("/")[0]
        label = f"{plural}.{self.group}" if self.group else plural
        named = f' "{self.name}"' if self.name else ""
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        text = f'User "{user}" cannot {self.verb} resource "{self.resource}" in API group "{self.group}" {where}'
        return f"{label}{named} is forbidden: {text}"


def is_allowed(store: Store, name: str, groups: tuple[str, ...], asked: Attributes) -> bool:
    """Whether a user may do something."""
    return bool(PRIVILEGED_GROUPS & set(groups)) or any(
        _rule_allows(rule, asked) for rule in rules_for(store, name, groups, asked.namespace)
    )


def rules_for(store: Store, name: str, groups: tuple[str, ...], namespace: str) -> Iterator[Unstructured]:
    """Every rule that applies to a user in a namespace ("" for the cluster)."""
    if PRIVILEGED_GROUPS & set(groups):
        yield from (_ALL, _URLS)
        return
    for binding in store.all(f"clusterrolebindings.{GROUP}"):
        if _binds(binding, name, groups, ""):
            yield from role_rules(store, binding["roleRef"], "")
    if namespace:
        for binding in store.all(f"rolebindings.{GROUP}", namespace):
            if _binds(binding, name, groups, namespace):
                yield from role_rules(store, binding["roleRef"], namespace)


def _binds(binding: Unstructured, name: str, groups: tuple[str, ...], namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        kind, who = subject.get("kind"), subject.get("name", "")
        if kind == "ServiceAccount":
            if name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{who}":
                return True
        elif (kind == "User" and who == name) or (kind == "Group" and who in groups):
            return True
    return False


def role_rules(store: Store, reference: Unstructured, namespace: str) -> Iterator[Unstructured]:
    yield from (role_of(store, reference, namespace) or {}).get("rules") or ()


def role_of(store: Store, reference: Unstructured, namespace: str) -> Unstructured | None:
    """The role that a binding in a namespace refers to; None if it does not exist."""
    name = reference.get("name", "")
    if reference.get("kind") == "Role":
        return store.get(f"roles.{GROUP}", namespace, name)
    return store.get(CLUSTER_ROLES, "", name)


def _rule_allows(rule: Unstructured, asked: Attributes) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        urls = rule.get("nonResourceURLs") or ()
        return any(u in ("*", asked.path) or (u.endswith("*") and asked.path.startswith(u[:-1])) for u in urls)
    groups, resources, names = (rule.get(k) or () for k in ("apiGroups", "resources", "resourceNames"))
    _, _, sub = asked.resource.partition("/")
    return (
        ("*" in groups or asked.group in groups)
        and ("*" in resources or asked.resource in resources or bool(sub and f"*/{sub}" in resources))
        and (not names or asked.name in names)
    )
