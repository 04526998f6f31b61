"""The Gateway API: policies that select the proxies of a Gateway by labels, and versions that are too old."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh.selection import GATEWAY_NAME

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import GATEWAY_API, ObjectSet, selector_of

_POLICIES = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin")
_OLD_NAME = "istio.io/gateway-name"
_VERSION = "gateway.networking.k8s.io/bundle-version"
_MINIMUM = {"tlsroutes": (1, 5, 0), "listenersets": (1, 5, 0), "backendtlspolicies": (1, 4, 0), "grpcroutes": (1, 1, 0)}
_DEFAULT_MINIMUM = (1, 0, 0)


def selectors(objects: ObjectSet) -> Iterator[Finding]:
    """Policies with a selector that selects the proxies of a Gateway, which follow targetRefs only."""
    for policy in (d for kind in _POLICIES for d in objects.of(kind)):
        labels = selector_of(policy.spec)
        if labels and not unstructured.items(policy.spec, "targetRefs") and "targetRef" not in policy.spec:
            for name in sorted(set(_gateways(objects, policy, labels))):
                yield finding("IST0166", policy.key, "spec.selector", name)


def _gateways(objects: ObjectSet, policy: Document, labels: dict[str, str]) -> Iterator[str]:
    """The Gateways whose proxies have the labels."""
    namespace = policy.key.namespace
    name = labels.get(GATEWAY_NAME) or labels.get(_OLD_NAME, "")
    if name and objects.get("Gateway", namespace, name, GATEWAY_API) is not None:
        yield name
    for pod in objects.selected(labels, namespace):
        if owner := pod.labels.get(GATEWAY_NAME) or pod.labels.get(_OLD_NAME):
            yield owner


def versions(objects: ObjectSet) -> Iterator[Finding]:
    """Definitions of the Gateway API's kinds that are older than those that are read."""
    for crd in objects.of("CustomResourceDefinition"):
        plural, _, group = crd.key.name.partition(".")
        installed = crd.annotations.get(_VERSION, "")
        numbers = re.match(r"v(\d{1,4})\.(\d{1,4})\.(\d{1,4})", installed)
        if group != GATEWAY_API or numbers is None or installed == "v0.0.0-dev":
            continue
        minimum = _MINIMUM.get(plural, _DEFAULT_MINIMUM)
        if tuple(map(int, numbers.groups())) < minimum:
            at, wanted = f"metadata.annotations[{_VERSION}]", "v" + ".".join(map(str, minimum))
            yield finding("IST0176", crd.key, at, crd.key.name, installed, wanted)
