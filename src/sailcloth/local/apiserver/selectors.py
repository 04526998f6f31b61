"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .errors import bad_request

Matcher = Callable[[dict[str, Any]], bool]
_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")
# What objects can be selected by, beside metadata.name and metadata.namespace, as in Kubernetes; and what an absent one is.
_FIELDS: dict[str, dict[str, str]] = {
    "pods": {
        "spec.nodeName": "", "spec.restartPolicy": "", "spec.schedulerName": "", "spec.serviceAccountName": "",
        "spec.hostNetwork": "false", "status.phase": "", "status.podIP": "", "status.nominatedNodeName": "",
    },
    "events": {
        **{f"involvedObject.{f}": "" for f in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")},
        "reason": "", "reportingComponent": "", "source": "", "type": "",
    },
    "namespaces": {"status.phase": ""},
    "nodes": {"spec.unschedulable": "false"},
    "secrets": {"type": ""},
    "services": {"spec.clusterIP": "", "spec.type": ""},
    "replicasets.apps": {"status.replicas": "0"},
    "jobs.batch": {"status.successful": "0"},
}  # fmt: skip
_MEANT = {"source": "source.component", "status.successful": "status.succeeded"}
_EQUAL = re.compile(r"^([^=!\s]+)\s*(==|!=|=)\s*(\S*)$")


def everything(_: dict[str, Any]) -> bool:
    """The selector that is none."""
    return True


def labels(text: str | None) -> Callable[[dict[str, str]], bool]:
    """A label selector over a label map. Raises Refused for one that cannot be read."""
    terms: list[Callable[[dict[str, str]], bool]] = []
    for raw in re.split(r",(?![^()]*\))", text) if text else []:
        term = raw.strip()
        if found := _SET.match(term):
            values = {v.strip() for v in found[3].split(",")}
            inside = found[2] == "in"
            terms.append(lambda m, k=found[1], v=values, i=inside: (m.get(k) in v) == i)  # type: ignore[misc]
        elif found := _EQUAL.match(term):
            equal = found[2] != "!="
            terms.append(lambda m, k=found[1], v=found[3], e=equal: (m.get(k) == v) == e)  # type: ignore[misc]
        elif re.fullmatch(r"!?[A-Za-z0-9_./-]+", term):
            absent, key = term.startswith("!"), term.lstrip("!")
            terms.append(lambda m, k=key, a=absent: (k in m) != a)  # type: ignore[misc]
        else:
            raise bad_request(f"unable to parse requirement: {term!r} is not a label selector")
    return lambda m: all(t(m) for t in terms)


def fields(text: str | None, gr: str) -> Matcher:
    """A field selector over objects of a resource: dotted paths with = or !=. Raises Refused for one that cannot be read, or
    a field that the resource is not selected by."""
    known = {"metadata.name": "", "metadata.namespace": "", **_FIELDS.get(gr, {})}
    terms: list[tuple[tuple[str, ...], str, bool, str]] = []
    for raw in text.split(",") if text else []:
        found = _EQUAL.match(raw.strip())
        if found is None:
            raise bad_request(f"invalid field selector: {raw!r}")
        if found[1] not in known:
            raise bad_request(f"field label not supported: {found[1]}")
        path = tuple(_MEANT.get(found[1], found[1]).split("."))
        terms.append((path, found[3], found[2] != "!=", known[found[1]]))

    def match(obj: dict[str, Any]) -> bool:
        for path, wanted, equal, absent in terms:
            value: Any = obj
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            text = absent if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            if (text == wanted) != equal:
                return False
        return True

    return match


def label_selector(selector: dict[str, Any] | None) -> Callable[[dict[str, str]], bool]:
    """A LabelSelector object (matchLabels, matchExpressions); an empty one matches everything."""
    selector = selector or {}
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []

    def match(have: dict[str, str]) -> bool:
        if any(have.get(k) != v for k, v in wanted.items()):
            return False
        for e in expressions:
            key, operator, values = e["key"], e["operator"], e.get("values") or []
            holds = {
                "In": have.get(key) in values,
                "NotIn": have.get(key) not in values,
                "Exists": key in have,
                "DoesNotExist": key not in have,
            }.get(operator, False)
            if not holds:
                return False
        return True

    return match
