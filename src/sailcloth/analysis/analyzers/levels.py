"""PeerAuthentications: of several at a level only the oldest holds. Also mutual TLS that one side starts and the other refuses."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding, Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.mesh import hosts, peer_authentication, selection
from sailcloth.mesh.model import Service

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet, label_text, selector_of

_KIND = "PeerAuthentication"
SELECTING = (_KIND, "RequestAuthentication", "WasmPlugin", "ProxyConfig")
"""Kinds with a selector that is checked here."""


def several(objects: ObjectSet) -> Iterator[Finding]:
    """Several objects for one namespace, or for one workload."""
    by_namespace: dict[str, list[Document]] = {}
    for one in objects.of(_KIND):
        by_namespace.setdefault(one.key.namespace, []).append(one)
    for namespace, found in by_namespace.items():
        general = [one for one in found if not selector_of(one.spec)]
        for one in general if len(general) > 1 else ():
            names = sorted(o.key.name for o in general)
            yield finding("SAIL1010", one.key, "metadata.name", _KIND, names, namespace)
        selecting = [one for one in found if selector_of(one.spec)]
        for one in selecting if len(selecting) > 1 else ():
            for pod in objects.selected(selector_of(one.spec), namespace):
                same = sorted(o.key.name for o in selecting if selection.matches(selector_of(o.spec), pod.labels))
                if len(same) > 1:
                    yield finding("SAIL1011", one.key, "spec.selector", _KIND, same, namespace, pod.document.key.name)
                    break


def without_workload(context: Context, one: Document) -> Iterator[Finding]:
    """Selectors of no workload."""
    labels = selector_of(one.spec)
    namespace = "" if one.key.namespace == context.root and one.key.kind != _KIND else one.key.namespace
    if labels and not context.selects(labels, namespace) and not one.spec.get("targetRefs"):
        yield finding("SAIL1012", one.key, "spec.selector", label_text(labels))


def client_modes(context: Context, rule: Document) -> Iterator[Finding]:
    """DestinationRules whose TLS the workloads refuse: none to STRICT, or mutual TLS to DISABLE."""
    policy = unstructured.mapping(rule.spec, "trafficPolicy")
    mode = unstructured.text(policy, "tls", "mode") or ("DISABLE" if "tls" in policy else "")
    host = context.host(unstructured.text(rule.spec, "host"), rule.key.namespace)
    if mode not in ("DISABLE", "SIMPLE", "ISTIO_MUTUAL") or host.startswith("*"):
        return
    service = context.service(host, rule.key.namespace)
    accepted, source = _accepted(context, service)
    at = "spec.trafficPolicy.tls.mode"
    if accepted == "STRICT" and mode == "DISABLE":
        yield finding("SAIL1008", rule.key, at, mode, host, source)
    elif accepted == "DISABLE" and mode == "ISTIO_MUTUAL" and source is not None:
        name = f"{rule.key.namespace}/{rule.key.name}"
        yield finding("SAIL1020", source, "spec.mtls.mode", name, host)


def _accepted(context: Context, service: Service | None) -> tuple[str, Key | None]:
    """(mode, object that sets it) of the first workload behind a service of the cluster, if it is the same for all ports."""
    if service is None or not service.kubernetes or not service.selector:
        return "", None
    for labels in context.pod_labels(dict(service.selector), service.namespace):
        pairs = tuple(sorted(labels.items()))
        keys = context.graph.get(selection.for_workload, PeerAuthentication, service.namespace, pairs)
        general, by_port = peer_authentication.origins(context.graph, keys)
        targets = (p.target if isinstance(p.target, int) else p.number for p in service.ports)
        found = [by_port.get(target, general) for target in targets] or [general]
        return (found[0].mode, found[0].source) if len({origin.mode for origin in found}) == 1 else ("", None)
    return "", None


def started(objects: ObjectSet) -> Iterator[Finding]:
    """STRICT mode for a namespace or the mesh that nothing starts, where mutual TLS is not automatic."""
    if objects.config.enable_auto_mtls:
        return
    rules = [
        objects.host(unstructured.text(r.spec, "host"), r.key.namespace)
        for r in objects.of("DestinationRule")
        if unstructured.text(r.spec, "trafficPolicy", "tls", "mode") in ("ISTIO_MUTUAL", "MUTUAL")
    ]
    for one in objects.of(_KIND):
        if unstructured.text(one.spec, "mtls", "mode") == "STRICT" and not selector_of(one.spec):
            mesh = one.key.namespace == objects.root
            domain = f"svc.{objects.config.domain}"
            wanted = f"*.{domain}" if mesh else f"*.{one.key.namespace}.{domain}"
            if not any(hosts.covers(pattern, wanted) for pattern in rules):
                yield finding("SAIL1019", one.key, "spec.mtls.mode", wanted)
