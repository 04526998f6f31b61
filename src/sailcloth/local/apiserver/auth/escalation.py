"""Nobody grants what they do not hold: roles and bindings are checked against the rules of who writes them, as in Kubernetes
(`escalate` on roles and `bind` on the referenced role are the permissions to do it all the same).
"""

from __future__ import annotations

from itertools import product
from typing import Any

from ..errors import StatusError, not_found
from ..kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, GROUP, ROLE, ROLE_BINDING
from ..storage import Store
from ..unstructured import Unstructured
from . import authorization
from .authentication import User

_ROLES = (ROLE.group_resource, CLUSTER_ROLE.group_resource)
_BINDINGS = (ROLE_BINDING.group_resource, CLUSTER_ROLE_BINDING.group_resource)
_FULL: tuple[Unstructured, ...] = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
_NOT_JUDGED = frozenset({"finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation"})


def authorize(store: Store, user: User, group_resource: str, obj: Unstructured, old: Unstructured | None) -> None:
    """Raises StatusError (403) for a role or binding that grants more than the user holds, and (404) for a binding to a role that
    does not exist. Other resources pass."""
    if group_resource not in _ROLES + _BINDINGS or (old is not None and _judged(old) == _judged(obj)):
        return
    name, namespace = str(obj["metadata"].get("name", "")), str(obj["metadata"].get("namespace") or "")
    if group_resource in _ROLES:
        if not _may(store, user, "escalate", group_resource.partition(".")[0], namespace, name):
            aggregates = obj.get("aggregationRule") or (old or {}).get("aggregationRule")
            granted = [*(obj.get("rules") or ()), *(_FULL if aggregates else ())]
            _check(store, user, group_resource, namespace, name, granted)
    else:
        reference = obj.get("roleRef") or {}
        plural = "roles" if reference.get("kind") == "Role" else "clusterroles"
        if not _may(store, user, "bind", plural, namespace, str(reference.get("name", ""))):
            role = authorization.role_of(store, reference, namespace)
            if role is None:  # what it will grant cannot be judged
                raise not_found(f"{plural}.{GROUP}", str(reference.get("name", "")), GROUP, plural)
            _check(store, user, group_resource, namespace, name, role.get("rules") or [])


def _judged(obj: Unstructured) -> Unstructured:
    """What a change of is a grant: also labels, by which a role is aggregated into others."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in _NOT_JUDGED}}


def _may(store: Store, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
    attributes = authorization.Attributes(verb, GROUP, plural, namespace, name)
    return authorization.is_allowed(store, user.name, user.groups, attributes)


def _check(
    store: Store, user: User, group_resource: str, namespace: str, name: str, granted: list[Unstructured]
) -> None:
    held = list(authorization.rules_for(store, user.name, user.groups, namespace))
    missing = [rule for rule in granted if not all(any(_covers(h, one) for h in held) for one in _single(rule))]
    if missing:
        groups = " ".join(f'"{group}"' for group in user.groups)
        text = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
        text += "\n".join(_rule_text(rule) for rule in missing)
        raise StatusError(403, "Forbidden", f'{group_resource} "{name}" is forbidden: {text}')


def _single(rule: Unstructured) -> list[tuple[str, str, str, str, str]]:
    """The permissions of a rule: (verb, group, resource, resource name, URL), of which some are empty."""
    verbs, urls = rule.get("verbs") or (), rule.get("nonResourceURLs") or ()
    groups, plurals = rule.get("apiGroups") or (), rule.get("resources") or ()
    names = rule.get("resourceNames") or ("",)
    return [*product(verbs, groups, plurals, names, ("",)), *((v, "", "", "", u) for v in verbs for u in urls)]


def _covers(held: Unstructured, one: tuple[str, str, str, str, str]) -> bool:
    verb, group, plural, name, url = one

    def has(key: str, value: str) -> bool:
        values = held.get(key) or ()
        return "*" in values or value in values

    if not has("verbs", verb):
        return False
    if url:
        urls: list[Any] = held.get("nonResourceURLs") or []
        return any(u in ("*", url) or (u.endswith("*") and url.startswith(u[:-1])) for u in urls)
    below = plural.partition("/")[2]
    if not has("apiGroups", group) or not (has("resources", plural) or (below and has("resources", f"*/{below}"))):
        return False
    names = held.get("resourceNames") or ()
    return not names or name in names


def _rule_text(rule: Unstructured) -> str:
    fields = {
        "APIGroups": "apiGroups",
        "Resources": "resources",
        "ResourceNames": "resourceNames",
        "NonResourceURLs": "nonResourceURLs",
        "Verbs": "verbs",
    }
    shown = (f"{k}:[{' '.join(f'{chr(34)}{v}{chr(34)}' for v in rule[f])}]" for k, f in fields.items() if rule.get(f))
    return "{" + ", ".join(shown) + "}"
