"""DestinationRules: certificates of servers that nobody verifies, hosts of no service, subsets of no endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sailcloth.api.meta import Finding
from sailcloth.mesh import hosts, registry, selection
from sailcloth.mesh.model import Service

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .unstructured import Object


def certificates(context: Context, rule: Document) -> Iterator[Finding]:
    """TLS to a host or a port without CA certificates. A credential counts in rules for selected workloads only."""
    host, namespace = unstructured.text(rule.spec, "host"), rule.key.namespace
    policy = unstructured.mapping(rule.spec, "trafficPolicy")
    fix = "Set caCertificates, for example to the system's roots."
    if mode := _unverified(rule, unstructured.mapping(policy, "tls")):
        at = "spec.trafficPolicy.tls"
        yield finding("IST0128", rule.key, at, rule.key.name, namespace, mode, host, fix=fix)
    for index, settings in unstructured.objects(policy, "portLevelSettings"):
        if mode := _unverified(rule, unstructured.mapping(settings, "tls")):
            at, port = (
                f"spec.trafficPolicy.portLevelSettings[{index}].tls",
                unstructured.text(settings, "port", "number"),
            )
            yield finding("IST0129", rule.key, at, rule.key.name, namespace, mode, host, f"number:{port}", fix=fix)


def _unverified(rule: Document, tls: Object) -> str:
    """The mode of TLS settings that verify nothing; empty for others."""
    mode = unstructured.text(tls, "mode")
    if mode not in ("SIMPLE", "MUTUAL") or unstructured.text(tls, "caCertificates"):
        return ""
    stored = bool(unstructured.text(tls, "credentialName")) and "workloadSelector" in rule.spec
    return "" if stored or tls.get("insecureSkipVerify") is True else mode


def endpoints(context: Context, rule: Document) -> Iterator[Finding]:
    """Hosts that no service has, and subsets that no pod and no other endpoint of the host is in."""
    name = unstructured.text(rule.spec, "host")
    host = context.host(name, rule.key.namespace)
    services = _services(context, host, rule.key.namespace)
    if not services:
        if not _covers_cluster(context, host):
            yield finding("IST0174", rule.key, "spec.host", name)
        return
    if host.startswith("*") or any(_unknown_endpoints(context, s) for s in services):
        return
    for index, subset in unstructured.objects(rule.spec, "subsets"):
        labels = unstructured.labels(subset, "labels")
        if not any(selection.matches(labels, found) for s in services for found in endpoint_labels(context, s)):
            at = f"spec.subsets[{index}]"
            fix = "Correct the labels, or deploy what has them."
            yield finding("IST0173", rule.key, at, unstructured.text(subset, "name"), fix=fix)


def _services(context: Context, host: str, namespace: str) -> list[Service]:
    if not host.startswith("*"):
        found = context.service(host, namespace)
        return [found] if found is not None else []
    idents = (
        *registry.services_visible_to(context.graph, "*"),
        *registry.services_visible_to(context.graph, namespace),
    )
    names = dict.fromkeys(i.host for i in idents if hosts.covers(host, i.host))
    return [s for n in names if (s := context.service(n, namespace)) is not None]


def _covers_cluster(context: Context, host: str) -> bool:
    """Whether a wildcard is for the services of the cluster, which the objects may not contain."""
    return host.startswith("*") and hosts.overlaps(host, f"*.svc.{context.config.domain}")


def _unknown_endpoints(context: Context, service: Service) -> bool:
    """Whether a service's endpoints are known outside of the objects only: one without a selector, or by DNS."""
    if service.kubernetes:
        return not service.selector
    entry = context.get("ServiceEntry", service.namespace, service.name)
    spec = entry.spec if entry is not None else {}
    return not (unstructured.items(spec, "endpoints") or unstructured.mapping(spec, "workloadSelector"))


def endpoint_labels(context: Context, service: Service) -> Iterator[Mapping[str, str]]:
    """The labels of a service's endpoints: of pods, of WorkloadEntries and WorkloadGroups, and those in a ServiceEntry."""
    selector = dict(service.selector)
    entry = None if service.kubernetes else context.get("ServiceEntry", service.namespace, service.name)
    if entry is not None:
        selector = unstructured.labels(entry.spec, "workloadSelector", "labels")
        for _, endpoint in unstructured.objects(entry.spec, "endpoints"):
            yield unstructured.labels(endpoint, "labels")
    if not selector:
        return
    yield from context.pod_labels(selector, service.namespace)
    yield from (labels for labels in context.machine_labels(service.namespace) if selection.matches(selector, labels))
