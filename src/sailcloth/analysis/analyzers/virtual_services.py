"""VirtualServices: whether destinations, their ports and subsets exist."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding, Key
from sailcloth.mesh import destination_rules, hosts, visibility
from sailcloth.mesh.model import Resolution, Service

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet
from .unstructured import Object

_MERGED = "Sailcloth joins their routes, the oldest object's first; Istio applies those of the oldest only."


def destinations(rule: Document) -> Iterator[tuple[str, Object]]:
    """(path, destination) of all routes and mirrors of a VirtualService; an empty one for a route without a destination."""
    for kind in ("http", "tls", "tcp"):
        for index, route in unstructured.objects(rule.spec, kind):
            at = f"spec.{kind}[{index}]"
            for number, weighted in unstructured.objects(route, "route"):
                yield f"{at}.route[{number}].destination", unstructured.mapping(weighted, "destination")
            if isinstance(route.get("mirror"), dict):
                yield f"{at}.mirror", route["mirror"]
            for number, mirror in unstructured.objects(route, "mirrors"):
                yield f"{at}.mirrors[{number}].destination", unstructured.mapping(mirror, "destination")


def gateways(rule: Document) -> list[str]:
    """The gateways that a VirtualService is bound to, as it names them; `mesh` for sidecars."""
    return unstructured.texts(rule.spec, "gateways") or ["mesh"]


def exported(context: Context, rule: Document) -> tuple[str, ...]:
    """The namespaces where a VirtualService is visible; `*` for all."""
    export = unstructured.texts(rule.spec, "exportTo")
    return visibility.exported_to(export, rule.key.namespace, context.config.rule_export)


def destination_hosts(context: Context, rule: Document) -> Iterator[Finding]:
    """Destinations that no client of the rule reaches, and destinations that leave the port open."""
    namespaces = exported(context, rule)
    clients = (rule.key.namespace,) if "*" in namespaces else namespaces
    for path, destination in destinations(rule):
        yield from _destination(context, rule.key, clients, path, destination)


def _destination(
    context: Context, key: Key, clients: tuple[str, ...], path: str, destination: Object
) -> Iterator[Finding]:
    name = unstructured.text(destination, "host")
    host = context.host(name, key.namespace)
    found = [context.service(host, client) for client in clients]
    service = next((s for s in found if s is not None), None)
    if service is None or None in found:
        yield finding("IST0101", key, f"{path}.host", "host", name)
        return
    port, ports = unstructured.number(destination, "port", "number"), [p.number for p in service.ports]
    if service.resolution is Resolution.ALIAS and not ports:
        return
    if not port and len(ports) > 1:
        fix = "Set port.number."
        yield finding("IST0112", key, path, name, ports, fix=fix)
    elif port and port not in ports:
        fix = f"{name} has {', '.join(map(str, ports)) or 'no ports'}."
        yield finding("IST0101", key, f"{path}.port.number", "host:port", f"{name}:{port}", fix=fix)


def destination_subsets(context: Context, rule: Document) -> Iterator[Finding]:
    """Subsets that no DestinationRule defines for the clients of the rule."""
    for path, destination in destinations(rule):
        name, subset = unstructured.text(destination, "host"), unstructured.text(destination, "subset")
        if not subset:
            continue
        host = context.host(name, rule.key.namespace)
        if rules_for(context, host, rule.key.namespace).subset(subset) is None:
            fix = f"Requests to it get 503 until a DestinationRule of {host} defines it."
            reference = f"{name}+{subset}"
            yield finding("IST0101", rule.key, f"{path}.subset", "host+subset in destinationrule", reference, fix=fix)


_MOST_NAMESPACES = 100  # of clients, that are compared


def client_subsets(objects: ObjectSet) -> Iterator[Finding]:
    """Subsets that clients of the rule's own namespace have, and those of other namespaces with pods have not."""
    others = sorted({pod.namespace for pod in objects.pods})[:_MOST_NAMESPACES]
    for rule in objects.of("VirtualService"):
        own, seen = rule.key.namespace, exported(objects, rule)
        clients = [n for n in others if n != own and visibility.sees(seen, n)] if "mesh" in gateways(rule) else []
        for path, destination in destinations(rule) if clients else ():
            subset = unstructured.text(destination, "subset")
            host = objects.host(unstructured.text(destination, "host"), own)
            if (
                not subset
                or rules_for(objects, host, own).subset(subset) is None
                or _for_all(objects, host, own, subset)
            ):
                continue
            without = [
                n for n in clients if objects.service(host, n) and not rules_for(objects, host, n).subset(subset)
            ]
            if without:
                yield finding("SAIL1111", rule.key, f"{path}.subset", without, subset, host)


def _for_all(objects: ObjectSet, host: str, namespace: str, subset: str) -> bool:
    """Whether a rule gives the subset to every client: one of the service's or the root namespace that is exported to all."""
    service = objects.service(host, namespace)
    for key in rules_for(objects, host, namespace).sources:
        rule = objects.get("DestinationRule", key.namespace, key.name)
        if rule is None or key.namespace not in (objects.root, service.namespace if service else ""):
            continue
        export = unstructured.texts(rule.spec, "exportTo")
        names = {unstructured.text(s, "name") for _, s in unstructured.objects(rule.spec, "subsets")}
        if subset in names and "*" in visibility.exported_to(export, key.namespace, objects.config.destination_export):
            return True
    return False


def rules_for(context: Context, host: str, namespace: str) -> destination_rules.Rules:
    """The DestinationRules that clients of a namespace apply to a host, as the mesh merges them."""
    service: Service | None = context.service(host, namespace)
    owner = service.namespace if service is not None else ""
    return context.graph.get(destination_rules.for_host, host, owner, namespace, ())


def ingress_subsets(objects: ObjectSet) -> Iterator[Finding]:
    """Routes of gateways to a host whose subset routes are the mesh's: they do not apply to requests from outside."""
    subsets: dict[str, str] = {}
    for rule in objects.of("VirtualService"):
        if "mesh" not in gateways(rule):
            continue
        if any(unstructured.text(d, "subset") for _, d in destinations(rule)):
            for host in unstructured.texts(rule.spec, "hosts"):
                subsets.setdefault(objects.host(host, rule.key.namespace), rule.key.name)
    for rule in objects.of("VirtualService"):
        if "mesh" in gateways(rule):
            continue
        for path, destination in destinations(rule):
            host = objects.host(unstructured.text(destination, "host"), rule.key.namespace)
            if host in subsets and not unstructured.text(destination, "subset") and ".http" in path:
                fix = f"Repeat the routes of {subsets[host]} here, or name the subset."
                yield finding("IST0140", rule.key, path, subsets[host], rule.key.name, fix=fix)


def conflicting_hosts(objects: ObjectSet) -> Iterator[Finding]:
    """VirtualServices of the mesh that some namespace sees several of for one host: one finding for each object."""
    rules = [
        (
            rule,
            exported(objects, rule),
            [objects.host(h, rule.key.namespace) for h in unstructured.texts(rule.spec, "hosts")],
        )
        for rule in objects.of("VirtualService")
        if "mesh" in gateways(rule)
    ]
    exact: dict[str, list[int]] = {}
    wild: list[tuple[str, int]] = []
    for index, (_, _, names) in enumerate(rules):
        for name in dict.fromkeys(names):
            exact.setdefault(name, []).append(index)
            if name.startswith("*"):
                wild.append((name, index))
    for index, (rule, seen, names) in enumerate(rules):
        for name in names:
            same = list(exact[name])
            if name.startswith("*"):
                same += [i for pattern, i in wild if hosts.overlaps(pattern, name)]
            others = sorted({i for i in same if i == index or _meet(seen, rules[i][1])})
            if len(others) > 1:
                listed = ",".join(f"{rules[i][0].key.namespace}/{rules[i][0].key.name}" for i in others)
                at = f"spec.hosts[{names.index(name)}]"
                fix = _MERGED if objects.config.merge_virtual_services else "Only the oldest one applies."
                yield finding("IST0109", rule.key, at, listed, name, fix=fix)
                break


def _meet(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether some namespace is in both sets; `*` is every namespace."""
    return bool(a and b) and ("*" in a or "*" in b or bool(set(a) & set(b)))
