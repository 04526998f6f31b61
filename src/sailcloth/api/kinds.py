"""The table of kinds: names, versions, types, printer columns. One row per kind; everything else derives from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import core, gateway_api, mixer
from .authorization_policy import AuthorizationPolicy
from .destination_rule import DestinationRule
from .envoy_filter import EnvoyFilter
from .extensions import TrafficExtension, WasmPlugin
from .gateway import Gateway
from .legacy_security import (
    ClusterRbacConfig,
    LegacyPolicy,
    MeshPolicy,
    RbacConfig,
    ServiceRole,
    ServiceRoleBinding,
)
from .meta import Object
from .mixer import MixerConfig
from .peer_authentication import PeerAuthentication
from .rate_limit import RateLimit
from .request_authentication import RequestAuthentication
from .service_entry import ServiceEntry, WorkloadEntry
from .sidecar import Sidecar
from .telemetry import Telemetry
from .virtual_service import VirtualService
from .workload_group import ProxyConfig, WorkloadGroup


@dataclass(frozen=True)
class Kind:
    """One kind. `versions`: the served versions, of which the first is stored; `columns`: (name, type, JSON path)."""

    name: str
    plural: str
    group: str
    versions: tuple[str, ...]
    type: type[Object]
    short: tuple[str, ...] = ()
    columns: tuple[tuple[str, str, str], ...] = ()
    namespaced: bool = True
    conditions: bool = field(default=False)  # whether the control plane writes status conditions
    field_selector: str = ""  # selects the objects that the mesh reads
    key: str = ""  # the kind in keys of objects, if another kind of the mesh has the same name

    @property
    def key_kind(self) -> str:
        """The kind in the keys of its objects."""
        return self.key or self.name

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.versions[0]}" if self.group else self.versions[0]


_AGE = ("Age", "date", ".metadata.creationTimestamp")
_NET, _ALL = "networking.istio.io", ("v1", "v1beta1", "v1alpha3")

MESH_KINDS: tuple[Kind, ...] = (
    Kind("VirtualService", "virtualservices", _NET, _ALL, VirtualService, ("vs",),
         (("Gateways", "string", ".spec.gateways"), ("Hosts", "string", ".spec.hosts"),
          ("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("DestinationRule", "destinationrules", _NET, _ALL, DestinationRule, ("dr",),
         (("Host", "string", ".spec.host"),
          ("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("Gateway", "gateways", _NET, _ALL, Gateway, ("gw",),
         (("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("ServiceEntry", "serviceentries", _NET, _ALL, ServiceEntry, ("se",),
         (("Hosts", "string", ".spec.hosts"), ("Location", "string", ".spec.location"),
          ("Resolution", "string", ".spec.resolution"), _AGE), conditions=True),
    Kind("EnvoyFilter", "envoyfilters", _NET, ("v1alpha3",), EnvoyFilter, (),
         (("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("RateLimit", "ratelimits", "sailcloth.io", ("v1alpha1",), RateLimit, ("rl",),
         (("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("Sidecar", "sidecars", _NET, _ALL, Sidecar, (), (_AGE,), conditions=True),
    Kind("WorkloadEntry", "workloadentries", _NET, _ALL, WorkloadEntry, ("we",),
         (_AGE, ("Address", "string", ".spec.address"))),
    Kind("WorkloadGroup", "workloadgroups", _NET, _ALL, WorkloadGroup, ("wg",), (_AGE,), conditions=True),
    Kind("ProxyConfig", "proxyconfigs", _NET, ("v1beta1",), ProxyConfig, (), (_AGE,)),
    Kind("PeerAuthentication", "peerauthentications", "security.istio.io", ("v1", "v1beta1"), PeerAuthentication,
         ("pa",), (("Mode", "string", ".spec.mtls.mode"), _AGE), conditions=True),
    Kind("AuthorizationPolicy", "authorizationpolicies", "security.istio.io", ("v1", "v1beta1"), AuthorizationPolicy,
         ("ap",), (("Action", "string", ".spec.action"),
          ("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("RequestAuthentication", "requestauthentications", "security.istio.io", ("v1", "v1beta1"),
         RequestAuthentication, ("ra",),
         (("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
    Kind("Telemetry", "telemetries", "telemetry.istio.io", ("v1", "v1alpha1"), Telemetry, ("telemetry",),
         (("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message'), _AGE), conditions=True),
)  # fmt: skip

_PROGRAMMED = ("Programmed", "string", '.status.conditions[?(@.type=="Programmed")].message')
_AUTHN, _RBAC = "authentication.istio.io", "rbac.istio.io"

# Kinds of Istio 1.0 to 1.5, which are converted to those above.
LEGACY_KINDS: tuple[Kind, ...] = (
    Kind("Policy", "policies", _AUTHN, ("v1alpha1",), LegacyPolicy, (), (_PROGRAMMED, _AGE), conditions=True),
    Kind("MeshPolicy", "meshpolicies", _AUTHN, ("v1alpha1",), MeshPolicy, (), (_PROGRAMMED, _AGE), False, True),
    Kind("ClusterRbacConfig", "clusterrbacconfigs", _RBAC, ("v1alpha1",), ClusterRbacConfig, (),
         (("Mode", "string", ".spec.mode"), _AGE), False, True),
    Kind("RbacConfig", "rbacconfigs", _RBAC, ("v1alpha1",), RbacConfig, (), (("Mode", "string", ".spec.mode"), _AGE),
         conditions=True),
    Kind("ServiceRole", "serviceroles", _RBAC, ("v1alpha1",), ServiceRole, (), (_PROGRAMMED, _AGE), conditions=True),
    Kind("ServiceRoleBinding", "servicerolebindings", _RBAC, ("v1alpha1",), ServiceRoleBinding, (),
         (("Reference", "string", ".spec.roleRef.name"), _PROGRAMMED, _AGE), conditions=True),
)  # fmt: skip

# Configuration of Mixer: the first is converted, the second only stored.
MIXER_KINDS: tuple[Kind, ...] = tuple(
    Kind(name, plural, "config.istio.io", ("v1alpha2",), MixerConfig, (), (_AGE,), conditions=True)
    for name, plural in mixer.CONVERTED
)
STORED_KINDS: tuple[Kind, ...] = tuple(
    Kind(name, plural, "config.istio.io", ("v1alpha2",), MixerConfig, (), (_AGE,)) for name, plural in mixer.STORED
)
LEGACY_KINDS += MIXER_KINDS

# Kinds with validation that are not served yet, because a policy that is accepted but not enforced is worse than none.
# They move to MESH_KINDS when their feature exists.
LATER_KINDS: tuple[Kind, ...] = (
    Kind("WasmPlugin", "wasmplugins", "extensions.istio.io", ("v1alpha1",), WasmPlugin, (), (_AGE,)),
    Kind("TrafficExtension", "trafficextensions", "extensions.istio.io", ("v1alpha1",), TrafficExtension, (), (_AGE,)),
)  # fmt: skip

CORE_KINDS: tuple[Kind, ...] = (
    Kind("Namespace", "namespaces", "", ("v1",), core.Namespace, namespaced=False),
    Kind("Node", "nodes", "", ("v1",), core.Node, namespaced=False),
    Kind("Service", "services", "", ("v1",), core.Service),
    Kind("Pod", "pods", "", ("v1",), core.Pod),
    Kind("EndpointSlice", "endpointslices", "discovery.k8s.io", ("v1",), core.EndpointSlice),
    Kind("ConfigMap", "configmaps", "", ("v1",), core.ConfigMap),
    Kind("Ingress", "ingresses", "networking.k8s.io", ("v1",), core.Ingress),
    # Of revisions of the control plane and their tags.
    Kind(
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "admissionregistration.k8s.io",
        ("v1",),
        core.MutatingWebhookConfiguration,
        namespaced=False,
    ),
    # Only Secrets that may have a gateway certificate: no tokens, and not the CA's key.
    Kind(
        "Secret",
        "secrets",
        "",
        ("v1",),
        core.Secret,
        field_selector="type!=kubernetes.io/service-account-token,type!=helm.sh/release.v1,type!=istio.io/ca-root",
    ),
)

# Kinds that the mesh reads if the cluster serves them.
OPTIONAL_KINDS: tuple[Kind, ...] = (
    Kind(
        "GatewayClass",
        "gatewayclasses",
        gateway_api.GROUP,
        ("v1", "v1beta1"),
        gateway_api.GatewayClass,
        namespaced=False,
    ),
    Kind(
        "Gateway",
        "gateways",
        gateway_api.GROUP,
        ("v1", "v1beta1"),
        gateway_api.KubernetesGateway,
        key="KubernetesGateway",
    ),
    Kind("ListenerSet", "listenersets", gateway_api.GROUP, ("v1",), gateway_api.ListenerSet),
    Kind("HTTPRoute", "httproutes", gateway_api.GROUP, ("v1", "v1beta1"), gateway_api.HTTPRoute),
    Kind("GRPCRoute", "grpcroutes", gateway_api.GROUP, ("v1",), gateway_api.GRPCRoute),
    Kind("TLSRoute", "tlsroutes", gateway_api.GROUP, ("v1",), gateway_api.TLSRoute),
    Kind("TCPRoute", "tcproutes", gateway_api.GROUP, ("v1",), gateway_api.TCPRoute),
    Kind("BackendTLSPolicy", "backendtlspolicies", gateway_api.GROUP, ("v1",), gateway_api.BackendTLSPolicy),
    Kind("UDPRoute", "udproutes", gateway_api.GROUP, ("v1",), gateway_api.UDPRoute),
    Kind("ReferenceGrant", "referencegrants", gateway_api.GROUP, ("v1beta1", "v1"), gateway_api.ReferenceGrant),
)

SERVED_KINDS = MESH_KINDS + LEGACY_KINDS + STORED_KINDS
"""The mesh's own kinds: those that it brings definitions of."""

BY_GROUP_KIND: dict[tuple[str, str], Kind] = {(k.group, k.name): k for k in SERVED_KINDS + CORE_KINDS + OPTIONAL_KINDS}


def kind_of(obj: dict[str, Any]) -> Kind | None:
    """The kind of an unstructured object, by group and kind; None if the mesh does not read it."""
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    return BY_GROUP_KIND.get((group, str(obj.get("kind", ""))))
