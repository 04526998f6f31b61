"""Warnings about likely mistakes in the configuration for a pod or a service. Built from the facts and from verdicts on objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sailcloth.api.meta import Key
from sailcloth.envoy import pipeline
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import destination_rules, virtual_services
from sailcloth.mesh.verdict import Verdict
from sailcloth.view import gateways

from .facts import MutualTls, PodDescription, ServiceDescription, ServicePort


def of_pod(facts: PodDescription, unresolved: Iterable[str]) -> Iterator[str]:
    """Warnings about a pod. `unresolved`: ports of services whose target name no container has."""
    if not facts.proxy:
        yield "no sidecar: no policy applies to requests to the pod, and callers send it plain text"
        yield from (f"{p.kind} {p.name} selects the pod and is not enforced: it has no sidecar" for p in facts.policies)
    if not facts.ready:
        yield "the pod is not ready: it gets no requests"
    if not facts.services and facts.proxy != "router":
        yield "no Service selects the pod: others reach it by its address only"
    yield from (f"{text} is no port of the pod's containers by that name" for text in unresolved)
    for service in facts.services if facts.proxy != "router" else ():
        yield from of_service(service)
        for port in service.ports:
            yield from of_tls(port, service, facts.mutual_tls, facts.proxy)
        yield from _not_reached(service)


def of_service(facts: ServiceDescription) -> Iterator[str]:
    """Warnings about a service's ports and rules."""
    for port in facts.ports:
        if port.chosen_by == "detection":
            yield (
                f"port {port.number} of Service {facts.name} says no protocol, so it is detected for each connection: "
                "name it such as http-web, or set its appProtocol"
            )
    defined = {s.name for r in facts.rules for s in r.subsets}
    for rule in facts.rules:
        for subset in rule.subsets:
            if not subset.endpoints and facts.endpoints:
                labels = ",".join(f"{k}={v}" for k, v in sorted(subset.labels.items()))
                yield f"subset {subset.name} of DestinationRule {rule.names[0]} matches no pod: none has {labels}"
    for routes in facts.routes:
        if not routes.routes:
            yield f"VirtualService {routes.virtual_service}: no proxy serves a route of it at Gateway {routes.via}"
        for route in routes.routes:
            if route.unreached:
                yield f"{route.place} of VirtualService {routes.virtual_service} is not reached ({route.unreached})"
            for target in route.targets:
                host, _, subset_text = target.partition(" subset ")
                subset_name = subset_text.partition(" ")[0]
                if host == facts.host and subset_name and subset_name not in defined:
                    yield (
                        f"{route.place} of VirtualService {routes.virtual_service} goes to subset {subset_name}, "
                        "which no DestinationRule defines: those requests get 503"
                    )


def of_tls(port: ServicePort, facts: ServiceDescription, modes: tuple[MutualTls, ...], proxy: str) -> Iterator[str]:
    """Warnings where clients' TLS conflicts with the workload's mode."""
    by_port = {str(m.port): m for m in modes}
    mode = by_port.get(port.target, by_port.get("0"))
    if mode is None:
        return
    for clients in port.clients:
        who = f"clients in {', '.join(clients.namespaces)}" + (f" of subset {clients.subset}" if clients.subset else "")
        where = f"port {port.number} of Service {facts.name}"
        workload_mode = f"{mode.source or 'the default'} makes it {mode.mode}"
        if not proxy:
            if clients.tls == "mutual TLS" and clients.by != "auto mTLS":
                yield f"{who} use mutual TLS to {where} ({clients.by}), and the pod has no sidecar: they are refused"
        elif mode.mode == "STRICT" and clients.tls != "mutual TLS" and not clients.tls.startswith("mutual TLS to"):
            yield f"{who} send {clients.tls} to {where} ({clients.by}), and {workload_mode}: they are refused"
        elif mode.mode == "DISABLE" and clients.tls == "mutual TLS":
            yield f"{who} use mutual TLS to {where} ({clients.by}), and {workload_mode}: they are refused"


def _not_reached(service: ServiceDescription) -> Iterator[str]:
    """Warnings for VirtualServices that route to the pod's service, but not to the pod."""
    for routes in service.routes:
        if routes.routes and not any(r.percent and not r.unreached for r in routes.routes):
            subsets = sorted({s.name for r in service.rules for s in r.subsets if s.matches})
            text = f"the pod is in {'subset ' + ', '.join(subsets) if subsets else 'no subset'}"
            yield f"no route of VirtualService {routes.virtual_service} ({routes.via}) leads to this pod: {text}"


def of_objects(graph: Graph, keys: Iterable[Key]) -> Iterator[str]:
    """Verdicts on the objects: overridden, without effect, or with missing references."""
    verdict_functions = {feature.kind.__name__: feature.verdict for feature in pipeline.POLICIES}
    verdict_functions |= {
        "VirtualService": virtual_services.verdict,
        "DestinationRule": destination_rules.verdict,
        "Gateway": gateways.verdict,
    }
    for key in keys:
        verdict_of_kind = verdict_functions.get(key.kind)
        verdict = verdict_of_kind(graph, key) if verdict_of_kind is not None and "/" not in key.name else Verdict()
        # Notes on a Gateway's certificates are left out: Secrets are not read for a description.
        notes = verdict.notes if key.kind != "Gateway" else ()
        texts = (*((verdict.message,) if verdict.reason != "Accepted" else ()), *notes)
        yield from (f"{key.kind} {key.namespace}/{key.name}: {text}" for text in texts)
