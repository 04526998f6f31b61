"""AuthorizationPolicies: identities, methods and hosts that do not exist, and conditions that do not work at the workload."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.mesh import hosts, peer_authentication, registry, selection, services
from sailcloth.mesh.model import Protocol

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import ObjectSet, Workload, selector_of
from .unstructured import Object

_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))
_PRINCIPAL = re.compile(r"(?P<domain>[^*/]+)/ns/(?P<namespace>[^*/]+)/sa/(?P<account>[^*/]+)")
_IDENTITY = ("principals", "notPrincipals", "namespaces", "notNamespaces", "serviceAccounts", "notServiceAccounts")
_HTTP = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")


def _sources(policy: Document) -> Iterator[tuple[str, Object]]:
    for index, rule in unstructured.objects(policy.spec, "rules"):
        for number, source in unstructured.objects(rule, "from"):
            yield f"spec.rules[{index}].from[{number}].source", unstructured.mapping(source, "source")


def _operations(policy: Document) -> Iterator[tuple[str, Object]]:
    for index, rule in unstructured.objects(policy.spec, "rules"):
        for number, operation in unstructured.objects(rule, "to"):
            yield f"spec.rules[{index}].to[{number}].operation", unstructured.mapping(operation, "operation")


def principals(objects: ObjectSet) -> Iterator[Finding]:
    """Identities of unknown trust domains, and of service accounts that do not exist where accounts are known."""
    accounts = {(a.key.namespace, a.key.name) for a in objects.of("ServiceAccount")}
    known = {namespace for namespace, _ in accounts}
    accounts |= {(p.namespace, unstructured.text(p.spec, "serviceAccountName") or "default") for p in objects.pods}
    for policy in objects.of("AuthorizationPolicy"):
        for path, source in _sources(policy):
            for field in ("principals", "notPrincipals"):
                for index, text in enumerate(unstructured.texts(source, field)):
                    parts = _PRINCIPAL.fullmatch(text)
                    if parts is None:
                        continue
                    at, owner = f"{path}.{field}[{index}]", (parts["namespace"], parts["account"])
                    if parts["domain"] not in (*objects.config.trust_domains, "cluster.local"):
                        yield finding("SAIL1002", policy.key, at, parts["domain"], text)
                    elif owner not in accounts and parts["namespace"] in known:
                        yield finding("SAIL1001", policy.key, at, "/".join(owner))


def operations(objects: ObjectSet) -> Iterator[Finding]:
    """Methods that HTTP does not have, and hosts of no service, VirtualService or Gateway."""
    routed = [h for r in objects.of("VirtualService") for h in unstructured.texts(r.spec, "hosts")]
    for gateway in objects.of("Gateway"):
        for _, server in unstructured.objects(gateway.spec, "servers"):
            routed += [h.rpartition("/")[2] for h in unstructured.texts(server, "hosts")]
    patterns = frozenset(map(hosts.normalized, routed)) - {"*"}
    for policy in objects.of("AuthorizationPolicy"):
        for path, operation in _operations(policy):
            for field in ("methods", "notMethods"):
                for index, method in enumerate(unstructured.texts(operation, field)):
                    if method not in _METHODS and "*" not in method:
                        yield finding("SAIL1003", policy.key, f"{path}.{field}[{index}]", method)
            for field in ("hosts", "notHosts"):
                for index, host in enumerate(unstructured.texts(operation, field)):
                    if not _known(objects, policy.key.namespace, host, patterns):
                        yield finding("SAIL1004", policy.key, f"{path}.{field}[{index}]", host)


def _known(objects: ObjectSet, namespace: str, host: str, routed: frozenset[str]) -> bool:
    """Whether requests may have a host: names of the mesh as Kubernetes shortens them, and those that routes are for."""
    name = hosts.normalized(host.partition(":")[0])
    if name.startswith("*") or name.endswith("*") or any(wild in routed for wild in (name, *hosts.wildcards(name))):
        return True
    short = name.split(".")
    candidates = [name, objects.host(name, namespace)]
    if len(short) in (2, 3):
        candidates.append(f"{short[0]}.{short[1]}.svc.{objects.config.domain}")
    return any(objects.service(candidate, namespace) is not None for candidate in candidates)


def _workloads(objects: ObjectSet, policy: Document) -> list[Workload]:
    """One of each namespace and labels among the workloads of a policy."""
    everywhere = policy.key.namespace == objects.root
    pods = objects.selected(selector_of(policy.spec), "" if everywhere else policy.key.namespace)
    return list({(p.namespace, tuple(sorted(p.labels.items()))): p for p in pods}.values())


def mutual_tls(objects: ObjectSet) -> Iterator[Finding]:
    """Conditions on the caller's identity at workloads that accept no mutual TLS."""
    for policy in objects.of("AuthorizationPolicy"):
        used = [f"{path}.{f}" for path, source in _sources(policy) for f in _IDENTITY if unstructured.items(source, f)]
        for pod in _workloads(objects, policy) if used else ():
            labels = tuple(sorted(pod.labels.items()))
            keys = objects.graph.get(selection.for_workload, PeerAuthentication, pod.namespace, labels)
            modes = objects.graph.get(peer_authentication.modes, keys)
            if modes.mode == "DISABLE" and modes.sources and not modes.ports:
                names = str(modes.sources[-1])
                yield finding("SAIL1005", policy.key, used[0], used[0].rpartition(".")[2], names, pod.name)
                break


def http_on_tcp(objects: ObjectSet) -> Iterator[Finding]:
    """Conditions of HTTP at workloads with a TCP port: there a rule of ALLOW never matches, and others hold without them."""
    for policy in objects.of("AuthorizationPolicy"):
        used = [
            path
            for path, operation in _operations(policy)
            if any(unstructured.items(operation, f) for f in _HTTP) and not unstructured.items(operation, "ports")
        ]
        if not used:
            continue
        action = unstructured.text(policy.spec, "action") or "ALLOW"
        effect = "the rule never matches there" if action == "ALLOW" else "the rule holds there without them"
        for pod in _workloads(objects, policy):
            found = None if pod.is_gateway else _tcp_port(objects, pod)
            if found:
                yield finding(
                    "SAIL1107", policy.key, used[0], f"{action} policy {policy.key.name}", found[0], found[1], effect
                )
                break


def _tcp_port(objects: ObjectSet, pod: Workload) -> tuple[int, str] | None:
    """(port, name) of a Service of a pod with a port that is declared as TCP."""
    for service in objects.services_of(pod):
        host = f"{service.key.name}.{service.key.namespace}.svc.{objects.config.domain}"
        for ident in registry.services_of_host(objects.graph, host):
            model = objects.graph.get(services.service, ident)
            for port in model.ports if model is not None else ():
                if port.protocol in (Protocol.TCP, Protocol.MONGO, Protocol.MYSQL, Protocol.REDIS):
                    return port.number, service.key.name
    return None


def coverage(objects: ObjectSet) -> Iterator[Finding]:
    """Workloads that no policy holds for, in namespaces where some have one."""
    policies = objects.of("AuthorizationPolicy")
    if any(p.key.namespace == objects.root and not selector_of(p.spec) for p in policies):
        return
    for namespace in dict.fromkeys(p.key.namespace for p in policies):
        own = [selector_of(p.spec) for p in policies if p.key.namespace == namespace]
        attached = [p for p in policies if p.key.namespace == namespace and "targetRefs" in p.spec]
        if not all(own) or attached:
            continue
        for pod in objects.selected({}, namespace):
            if (
                pod.has_proxy
                and not pod.is_gateway
                and not any(selection.matches(labels, pod.labels) for labels in own)
            ):
                yield finding("SAIL1030", pod.document.key, "metadata.labels", pod.document.key.name)
