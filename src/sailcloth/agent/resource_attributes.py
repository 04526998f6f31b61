"""OpenTelemetry's attributes of the service that a proxy's spans are of, for the environment of Envoy's process. Pure.

https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes/#service-attributes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .bootstrap import ProxyIdentity

VARIABLE = "OTEL_RESOURCE_ATTRIBUTES"
ENRICHMENT = "SAILCLOTH_SERVICE_ATTRIBUTES"
"""Variable of a proxy: the `serviceAttributeEnrichment` of the mesh's tracing provider, which injection writes."""
SEMANTIC_CONVENTIONS = "OTEL_SEMANTIC_CONVENTIONS"
_ANNOTATION = "resource.opentelemetry.io/"
_PROXY = "istio-proxy"


def resource_attributes(proxy: ProxyIdentity, env: Mapping[str, str], containers: Iterable[Mapping[str, Any]]) -> str:
    """The value of OTEL_RESOURCE_ATTRIBUTES: the service's name, by the semantic conventions if they are wanted, and what the
    proxy's own variable says, which goes first."""
    attributes = {"service.name": proxy.node_cluster}
    if env.get(ENRICHMENT) == SEMANTIC_CONVENTIONS:
        attributes = _by_conventions(proxy, [c for c in containers if c.get("name") != _PROXY])
    pairs = (pair.strip().partition("=") for pair in env.get(VARIABLE, "").split(","))
    attributes |= {name: value for name, equals, value in pairs if equals}
    return ",".join(f"{name}={value}" for name, value in attributes.items())


def _by_conventions(proxy: ProxyIdentity, containers: list[Mapping[str, Any]]) -> dict[str, str]:
    only = containers[0] if len(containers) == 1 else {}
    labels, workload = proxy.labels, str(proxy.metadata.get("WORKLOAD_NAME", ""))
    instance = ".".join(part for part in (proxy.namespace, proxy.name, str(only.get("name", ""))) if part)
    named = labels.get("app.kubernetes.io/instance") or labels.get("app.kubernetes.io/name") or workload or proxy.name
    attributes = {
        "service.name": named,
        "service.namespace": proxy.namespace,
        "service.version": labels.get("app.kubernetes.io/version") or _version(str(only.get("image", ""))),
        "service.instance.id": instance,
    }
    for annotation, value in proxy.annotations.items():
        if annotation.startswith(_ANNOTATION) and not {",", "="} & set(value):
            attributes[annotation.removeprefix(_ANNOTATION)] = value
    return {name: value for name, value in attributes.items() if value}


def _version(image: str) -> str:
    """The tag and digest of an image, as far as it has them."""
    name, at, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag + at + digest if tag else digest
