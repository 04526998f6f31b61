"""SMI's TrafficTarget: AuthorizationPolicies for the workloads of the destination's service account.

What a policy cannot say, such as a path by an expression, is left out of what is allowed: a converted policy never allows more than the
TrafficTarget. Without workloads in the input the selector is to be filled in by the user.
"""

from __future__ import annotations

import re
from typing import Any

from .documents import SECURITY, Document, Losses, Names, Scope, entries, made, mapping, texts, workload_labels
from .smi_routes import ACCESS, ROUTES, SPECS, Match, groups, of_group, ports_of

_FILL_IN = {"sailcloth.io/fill-in": "labels-of-the-workloads"}
_SPECIAL = set("\\^$.|?*+()[]{}")


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace all TrafficTargets, and remove the route objects of SMI."""
    names, routes, out = Names(documents, scope), groups(documents, scope), []
    workloads = list(workload_labels(documents, scope))
    for document in documents:
        if document.group == ACCESS and document.kind == "TrafficTarget":
            out += _policies(document, workloads, routes, names, scope)
        elif not (document.group == SPECS and document.kind in ROUTES):
            out.append(document)
    return out


def _policies(
    target: Document,
    workloads: list[tuple[str, str, dict[str, str]]],
    routes: dict[tuple[str, str, str], Document],
    names: Names,
    scope: Scope,
) -> list[Document]:
    key = target.key(scope.namespace)
    losses = Losses(key)
    top = "spec." if "spec" in target.body else ""
    spec = target.spec or target.body
    destination = mapping(spec.get("destination"))
    account, namespace = str(destination.get("name") or ""), str(destination.get("namespace") or key.namespace)
    principals = []
    for index, source in enumerate(entries(spec.get("sources"))):
        if str(source.get("kind") or "ServiceAccount") != "ServiceAccount":
            losses.add(f"{top}sources[{index}].kind", "the source is left out: it is no ServiceAccount", "Name one.")
            continue
        where = source.get("namespace") or key.namespace
        principals.append(f"{scope.config.trust_domain}/ns/{where}/sa/{source.get('name')}")
    operations = _operations(spec, top, key.namespace, routes, losses)
    ports = [str(destination["port"])] if destination.get("port") else []
    rules = []
    for operation, conditions in operations if principals else ():
        allowed = {**operation, **({"ports": ports} if ports else {})}
        rule: dict[str, Any] = {"from": [{"source": {"principals": principals}}]}
        rule |= {"to": [{"operation": allowed}]} if allowed else {}
        rules.append({**rule, **({"when": conditions} if conditions else {})})
    selectors = _selectors(account, namespace, workloads, f"{top}destination", losses)
    out = []
    for index, labels in enumerate(selectors):
        name = names.free("AuthorizationPolicy", namespace, target.name if index == 0 else f"{target.name}-{index + 1}")
        given = bool(target.metadata.get("namespace") or destination.get("namespace"))
        body = made(
            f"{SECURITY}/v1",
            "AuthorizationPolicy",
            {"name": name, **scope.named(namespace, given)},
            {"selector": {"matchLabels": labels}, "action": "ALLOW", **({"rules": rules} if rules else {})},
        )
        out.append(Document(body, sources=(key,), losses=tuple(losses.found) if index == 0 else ()))
    return out


def _selectors(
    account: str,
    namespace: str,
    workloads: list[tuple[str, str, dict[str, str]]],
    path: str,
    losses: Losses,
) -> list[dict[str, str]]:
    """The labels of the workloads of a service account, one by one."""
    found: list[dict[str, str]] = []
    for where, own, labels in workloads:
        if (where, own) == (namespace, account) and labels and labels not in found:
            found.append(labels)
    if not found:
        text = (
            f"no workload of the service account {namespace}/{account} is in the input, so the policy selects none yet"
        )
        losses.add(
            path,
            text,
            "Put the labels of its pods into spec.selector.matchLabels, or add its Deployments to the input.",
        )
        return [dict(_FILL_IN)]
    for where, own, labels in workloads:
        if where == namespace and own != account and any(selector.items() <= labels.items() for selector in found):
            text = f"the labels also select workloads of the service account {own}"
            losses.add(path, text, f"Give the workloads of {account} a label of their own.")
    return found


def _operations(
    spec: dict[str, Any], top: str, namespace: str, routes: dict[tuple[str, str, str], Document], losses: Losses
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(operation, conditions) of everything that is allowed."""
    field = "rules" if "rules" in spec else "specs"
    out: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    references = entries(spec.get(field))
    if not references:
        losses.add(
            f"{top}{field}", "nothing is allowed, because it names no routes", "Name an HTTPRouteGroup or a TCPRoute."
        )
    for index, reference in enumerate(references):
        path, kind, name = f"{top}{field}[{index}]", str(reference.get("kind")), str(reference.get("name"))
        route = routes.get((kind, namespace, name))
        if route is None or kind == "UDPRoute":
            why = "UDP does not go through proxies" if kind == "UDPRoute" else "it is not in the input"
            losses.add(path, f"{kind} {name} allows nothing: {why}", "Add the route to the input, or remove the rule.")
            continue
        if kind == "TCPRoute":
            ports = ports_of(route)
            if ports is None:
                losses.add(
                    path, f"TCPRoute {name} allows nothing: spec.matches.ports is no list of numbers", "Correct it."
                )
            else:
                out.append(({"ports": [str(port) for port in ports]} if ports else {}, []))
            continue
        if not isinstance(reference.get("matches", []), list):
            losses.add(f"{path}.matches", "it allows nothing: it is no list of names", "Write a list.")
            continue
        wanted = texts(reference.get("matches"))
        matches = [m for m in of_group(route) if not wanted or m.name in wanted]
        for missing in sorted(set(wanted) - {m.name for m in matches}):
            losses.add(f"{path}.matches", f"HTTPRouteGroup {name} has no match {missing}", "Correct the name.")
        out += [o for m in matches if (o := _operation(m, path, losses)) is not None]
    return out


def _operation(match: Match, path: str, losses: Losses) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """What a match allows; None, with a loss, if a policy cannot say it."""
    if match.problem:
        text = f"the match {match.name} of HTTPRouteGroup {match.group} allows nothing: {match.problem}"
        losses.add(path, text, "Correct it.")
        return None
    operation: dict[str, Any] = {"methods": list(match.methods)} if match.methods else {}
    conditions = []
    for name, expression in (("", match.path), *match.headers):
        pattern = wildcard(expression) if expression else "*"
        if pattern is None:
            of = f"header {name}" if name else "path"
            text = f"the match {match.name} of HTTPRouteGroup {match.group} allows nothing: {of} {expression} is no text with a wildcard at one end"
            losses.add(path, text, "Write one, such as /api/.*, or an AuthorizationPolicy by hand.")
            return None
        if name:
            conditions.append({"key": f"request.headers[{name}]", "values": [pattern]})
        elif pattern != "*":
            operation["paths"] = [pattern]
    return operation, conditions


def wildcard(expression: str) -> str | None:
    """An expression for a whole text as a text with a wildcard at one end; None if it is not one."""
    text = expression.removeprefix("^").removesuffix("$")
    if text in (".*", ""):
        return "*"
    if text.endswith(".*") and (plain := _plain(text[:-2])) is not None:
        return f"{plain}*"
    if text.startswith(".*") and (plain := _plain(text[2:])) is not None:
        return f"*{plain}"
    return _plain(text)


def _plain(text: str) -> str | None:
    """The text that an expression without operators stands for."""
    bare = re.sub(r"\\([^A-Za-z0-9])", "", text)
    if _SPECIAL & set(bare) or "*" in text:
        return None
    return re.sub(r"\\([^A-Za-z0-9])", r"\1", text)
