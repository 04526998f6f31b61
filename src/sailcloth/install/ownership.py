"""Which objects of a cluster are an installation's: their kinds, and the labels that they are found by.

Labels are those of Istio's installer. The charts have none of them, because Helm finds its objects in another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sailcloth.api.revision import DEFAULT, LABEL
from sailcloth.kube import Resource
from sailcloth.kube.resources import (
    CONFIGMAPS,
    CRDS,
    DAEMONSETS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    SERVICEACCOUNTS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)

Object = dict[str, Any]
SHARED = frozenset(("Base", "Cni", "Console", "Namespaces", "Telemetry"))
"""Components that all revisions of the control plane have in common."""
Name = tuple[str, str, str]
"""Kind, namespace (empty for kinds without) and name of an object."""

MANAGER = "sailctl-install"
OWNER, COMPONENT = "install.operator.istio.io/owning-resource", "operator.istio.io/component"
STATE = "installed-state"
SELECTOR = f"{OWNER}={STATE}"
_RBAC = "rbac.authorization.k8s.io"
RESOURCES = {
    resource.kind: resource
    for resource in (  # in the order in which they are removed
        Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
        Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
        DEPLOYMENTS,
        DAEMONSETS,
        MUTATING_WEBHOOKS,
        VALIDATING_WEBHOOKS,
        SERVICES,
        Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
        Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        Resource(_RBAC, "v1", "roles", "Role"),
        Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
        Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False),
        CONFIGMAPS,
        Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
        SERVICEACCOUNTS,
        CRDS,
        NAMESPACES,
    )
}
LASTING = frozenset(("CustomResourceDefinition", "Namespace"))
"""Kinds whose removal removes what users have made."""


def owned(obj: Object, component: str, revision: str = DEFAULT) -> Object:
    """The object with the labels of an installation, and of its revision unless all share it."""
    metadata = obj["metadata"]
    own = {} if component in SHARED else {LABEL: revision}
    labels = {**metadata.get("labels", {}), **own, OWNER: STATE, COMPONENT: component}
    return {**obj, "metadata": {**metadata, "labels": labels}}


def name_of(obj: Object) -> Name:
    """Kind, namespace and name."""
    resource, metadata = RESOURCES[obj["kind"]], obj["metadata"]
    return obj["kind"], metadata.get("namespace", "") if resource.namespaced else "", metadata["name"]


def title(name: Name) -> str:
    """The name as messages have it: `Deployment istio-system/istiod`."""
    kind, namespace, own = name
    return f"{kind} {namespace}/{own}" if namespace else f"{kind} {own}"


def by_removal(names: Iterable[Name]) -> list[Name]:
    """The names in the order in which their objects are removed."""
    order = list(RESOURCES)
    return sorted(names, key=lambda n: (order.index(n[0]), n))
