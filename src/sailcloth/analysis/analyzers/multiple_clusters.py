"""Meshes of several clusters: networks of unknown clusters, and services that differ between clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sailcloth.api.meta import Finding, Key

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import ObjectSet

_REGISTRIES = ("Kubernetes", "Mock")
_REMOTE = "istio/multiCluster"
_SECRETS = ("data", "stringData")


def networks(objects: ObjectSet) -> Iterator[Finding]:
    """Registries in MeshNetworks that are neither this cluster nor one of the remote secrets."""
    known = set(_REGISTRIES)
    for secret in objects.of("Secret"):
        if secret.labels.get(_REMOTE) == "true":
            known |= {str(name) for field in _SECRETS for name in unstructured.mapping(secret.body, field)}
    key = Key("MeshNetworks", objects.root, "meshnetworks")
    for network, settings in unstructured.mapping(objects.networks, "networks").items():
        for index, endpoint in unstructured.objects(settings, "endpoints"):
            registry = unstructured.text(endpoint, "fromRegistry")
            if registry and registry not in known:
                yield finding("IST0126", key, f"networks.{network}.endpoints[{index}].fromRegistry", registry, network)


def services(clusters: Mapping[str, ObjectSet]) -> Iterator[Finding]:
    """Services of one name whose port names, ports or kinds differ between the clusters."""
    by_key: dict[Key, dict[str, Document]] = {}
    for cluster, objects in clusters.items():
        for service in objects.of("Service"):
            by_key.setdefault(service.key, {})[cluster] = service
    for key, found in by_key.items():
        differing = [text for text, of in _DIFFERENCES if len({of(s) for s in found.values()}) > 1]
        if differing:
            names, problem = sorted(found), "; ".join(differing)
            yield finding("IST0170", key, "spec", key.name, key.namespace, names, problem)


def _ports(service: Document) -> tuple[tuple[str, int, str], ...]:
    found = unstructured.objects(service.spec, "ports")
    return tuple(
        sorted(
            (unstructured.text(p, "name"), unstructured.number(p, "port"), unstructured.text(p, "protocol"))
            for _, p in found
        )
    )


_DIFFERENCES = (
    ("service ports are inconsistent", _ports),
    ("service types are inconsistent", lambda s: unstructured.text(s.spec, "type") or "ClusterIP"),
    ("headless and non-headless services are mixed", lambda s: unstructured.text(s.spec, "clusterIP") == "None"),
)
