"""The analyzers, in order, and their run. An analyzer is a pure function of the objects; none knows another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sailcloth.api.kinds import LEGACY_KINDS
from sailcloth.api.meta import Finding

from . import (
    ambient,
    authorization,
    certificates,
    destination_rules,
    envoy_filters,
    gateway_bindings,
    gateways,
    identities,
    kubernetes_gateways,
    kubernetes_routes,
    levels,
    mesh_options,
    multiple_clusters,
    ports,
    resource_annotations,
    routes,
    schemas,
    scopes,
    selectors,
    service_entries,
    services,
    sidecar_injection,
    statuses,
    subsets,
    telemetry,
    virtual_services,
    webhooks,
)
from .context import Context, Document
from .objects import ObjectSet


class Each:
    """A check of each object of some kinds by itself, which a control plane runs too (`live`)."""

    def __init__(self, check: Callable[[Context, Document], Iterator[Finding]], *kinds: str) -> None:
        self.check, self.kinds = check, kinds

    def __call__(self, objects: ObjectSet) -> Iterator[Finding]:
        return (f for kind in self.kinds for one in objects.of(kind) for f in self.check(objects, one))


@dataclass(frozen=True, slots=True)
class Analyzer:
    """A check. `name`: as istioctl names it. `needs`: kinds without which it says nothing, because they could not be read."""

    name: str
    check: Callable[[ObjectSet], Iterator[Finding]]
    needs: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        kind = self.name.removeprefix(_SCHEMA)
        return DESCRIPTIONS.get(self.name) or f"Checks {kind} resources against their schema"


_SCHEMA = "schema.ValidationAnalyzer."

DESCRIPTIONS = {
    "annotations.K8sAnalyzer": "Checks for misplaced and invalid Istio annotations in Kubernetes resources",
    "authn.BlockedCIDRsAnalyzer": "Checks that BLOCKED_CIDRS_IN_JWKS_URIS is configured when RequestAuthentication resources exist",
    "authz.AuthorizationPoliciesAnalyzer": "Checks the validity of authorization policies",
    "conditions.ConditionAnalyzer": "Checks for negative status conditions",
    "deployment.ApplicationUIDAnalyzer": "Checks invalid application UID",
    "deployment.ServiceAssociationAnalyzer": "Checks association between services and pods",
    "deprecation.FieldAnalyzer": "Checks for deprecated Istio types and fields",
    "destinationrule.CaCertificateAnalyzer": "Checks if caCertificates is set when TLS mode is SIMPLE/MUTUAL",
    "destinationrule.PodNotSelectedAnalyzer": "Checks if destination rule hosts and subsets select services and pods",
    "envoyfilter.EnvoyPatchAnalyzer": "Checks an envoyFilters to see if the relative ordering is used in patches",
    "externalcontrolplane.ExternalControlPlaneAnalyzer": "Checks that the remote IstioOperator resources reference an external control plane",
    "gateway.CertificateAnalyzer": "Checks a gateway certificate",
    "gateway.ConflictingGatewayAnalyzer": "Checks a gateway's selector, port number and hosts",
    "gateway.IngressGatewayPortAnalyzer": "Checks a gateway's ports against the gateway's Kubernetes service ports",
    "gateway.SecretAnalyzer": "Checks a gateway's referenced secrets for correctness",
    "injection.Analyzer": "Checks conditions related to Istio sidecar injection",
    "injection.ImageAnalyzer": "Checks that auto-injection configuration image matches the image used by pods",
    "injection.ImageAutoAnalyzer": "Makes sure that Pods and Deployments with `image: auto` are going to be injected",
    "k8sgateway.CRDVersionAnalyzer": "Checks the versions of the Gateway API's definitions",
    "k8sgateway.SelectorAnalyzer": "Checks that selectors are effective on Kubernetes gateways",
    "multicluster.MeshNetworksAnalyzer": "Checks the validity of MeshNetworks in the cluster",
    "sailcloth.ambient": "Checks objects for ambient mode and its waypoints",
    "sailcloth.authorization": "Checks identities, methods and hosts of authorization policies, and where their conditions work",
    "sailcloth.certificates": "Checks that the keys of gateways are their certificates'",
    "sailcloth.gateway-api": "Checks the references between objects of the Gateway API",
    "sailcloth.legacy": "Tells what is lost when legacy objects are converted",
    "sailcloth.mesh-options": "Checks the options of the mesh and of proxies",
    "sailcloth.mutual-tls": "Checks that both sides of connections agree about mutual TLS",
    "sailcloth.patches": "Checks that patches of Envoy's configuration match something",
    "sailcloth.ports": "Checks protocols, targets and addresses of ports",
    "sailcloth.routes": "Checks weights and retries of routes",
    "sailcloth.scopes": "Checks exports, and what Sidecars import",
    "sailcloth.subsets": "Checks subsets of destination rules",
    "sailcloth.workload-groups": "Checks workload groups",
    "service.PortNameAnalyzer": "Checks the port names associated with each service",
    "serviceentry.ConflictingProtocolAnalyzer": "Checks service entries that give one host and port several protocols",
    "serviceentry.ProtocolAddressesAnalyzer": "Checks the validity of ServiceEntry Protocol",
    "sidecar.SelectorAnalyzer": "Validates that sidecars that define a workload selector match at least one pod, and do not conflict",
    "telemetry.DefaultSelectorAnalyzer": "Validates that there aren't multiple telemetry resources that have no selector",
    "telemetry.LightstepAnalyzer": "Validates that lightstep is not used",
    "telemetry.ProviderAnalyzer": "Validates that providers in telemetry resources are valid",
    "telemetry.SelectorAnalyzer": "Validates that telemetries that define a selector match at least one pod, and do not conflict",
    "virtualservice.ConflictingMeshGatewayHostsAnalyzer": "Checks if multiple virtual services associated with the mesh gateway have conflicting hosts",
    "virtualservice.DestinationHostAnalyzer": "Checks the destination hosts associated with each virtual service",
    "virtualservice.DestinationRuleAnalyzer": "Checks the destination rules associated with each virtual service",
    "virtualservice.GatewayAnalyzer": "Checks the gateways associated with each virtual service",
    "virtualservice.JWTClaimRouteAnalyzer": "Checks the VirtualService using JWT claim based routing has corresponding RequestAuthentication",
    "webhook.Analyzer": "Checks the validity of Istio webhooks",
    "maturity.AlphaAnalyzer": "Checks for alpha Istio annotations in Kubernetes resources",
}
"""By name."""

ANALYZERS: tuple[Analyzer, ...] = (
    Analyzer("annotations.K8sAnalyzer", resource_annotations.check),
    Analyzer("authn.BlockedCIDRsAnalyzer", authorization.key_fetching),
    Analyzer("authz.AuthorizationPoliciesAnalyzer", Each(authorization.workloads, "AuthorizationPolicy"), ("Pod",)),
    Analyzer("authz.AuthorizationPoliciesAnalyzer", authorization.namespaces, ("Namespace",)),
    Analyzer("conditions.ConditionAnalyzer", statuses.conditions),
    Analyzer("deployment.ApplicationUIDAnalyzer", services.users),
    Analyzer("deployment.ServiceAssociationAnalyzer", services.associations),
    Analyzer("deprecation.FieldAnalyzer", Each(schemas.deprecations, *schemas.KINDS)),
    Analyzer("destinationrule.CaCertificateAnalyzer", Each(destination_rules.certificates, "DestinationRule")),
    Analyzer("destinationrule.PodNotSelectedAnalyzer", Each(destination_rules.endpoints, "DestinationRule"), ("Service", "ServiceEntry", "Pod")),
    Analyzer("envoyfilter.EnvoyPatchAnalyzer", Each(envoy_filters.patches, "EnvoyFilter")),
    Analyzer("externalcontrolplane.ExternalControlPlaneAnalyzer", webhooks.external_control_planes),
    Analyzer("gateway.CertificateAnalyzer", certificates.shared),
    Analyzer("gateway.ConflictingGatewayAnalyzer", gateways.conflicts, ("Pod",)),
    Analyzer("gateway.ConflictingGatewayAnalyzer", Each(gateways.selects, "Gateway"), ("Pod",)),
    Analyzer("gateway.IngressGatewayPortAnalyzer", Each(gateways.selects, "Gateway"), ("Pod",)),
    Analyzer("gateway.IngressGatewayPortAnalyzer", gateways.ports, ("Pod", "Service")),
    Analyzer("gateway.SecretAnalyzer", Each(gateways.selects, "Gateway"), ("Pod",)),
    Analyzer("gateway.SecretAnalyzer", certificates.secrets, ("Pod", "Secret")),
    Analyzer("injection.Analyzer", sidecar_injection.namespaces),
    Analyzer("injection.Analyzer", sidecar_injection.pods),
    Analyzer("injection.ImageAnalyzer", sidecar_injection.images),
    Analyzer("injection.ImageAutoAnalyzer", sidecar_injection.waiting),
    Analyzer("k8sgateway.CRDVersionAnalyzer", kubernetes_gateways.versions),
    Analyzer("k8sgateway.SelectorAnalyzer", kubernetes_gateways.selectors),
    Analyzer("multicluster.MeshNetworksAnalyzer", multiple_clusters.networks, ("Secret",)),
    Analyzer("service.PortNameAnalyzer", Each(services.port_names, "Service")),
    Analyzer("serviceentry.ConflictingProtocolAnalyzer", service_entries.protocols),
    Analyzer("serviceentry.ProtocolAddressesAnalyzer", service_entries.addresses),
    Analyzer("sidecar.SelectorAnalyzer", selectors.sidecars, ("Pod",)),
    Analyzer("sidecar.SelectorAnalyzer", Each(selectors.selects, "Sidecar"), ("Pod",)),
    Analyzer("telemetry.DefaultSelectorAnalyzer", selectors.namespace_telemetries),
    Analyzer("telemetry.LightstepAnalyzer", telemetry.lightstep),
    Analyzer("telemetry.ProviderAnalyzer", telemetry.providers),
    Analyzer("telemetry.SelectorAnalyzer", selectors.telemetries, ("Pod",)),
    Analyzer("telemetry.SelectorAnalyzer", Each(selectors.selects, "Telemetry"), ("Pod",)),
    Analyzer("virtualservice.ConflictingMeshGatewayHostsAnalyzer", virtual_services.conflicting_hosts),
    Analyzer("virtualservice.DestinationHostAnalyzer", Each(virtual_services.destination_hosts, "VirtualService"), ("Service", "ServiceEntry")),
    Analyzer("virtualservice.DestinationHostAnalyzer", virtual_services.ingress_subsets),
    Analyzer("virtualservice.DestinationRuleAnalyzer", Each(virtual_services.destination_subsets, "VirtualService"), ("DestinationRule",)),
    Analyzer("virtualservice.GatewayAnalyzer", Each(gateway_bindings.references, "VirtualService"), ("Gateway",)),
    Analyzer("virtualservice.JWTClaimRouteAnalyzer", gateway_bindings.claims, ("RequestAuthentication",)),
    Analyzer("webhook.Analyzer", webhooks.injectors, ("Service",)),
    Analyzer("sailcloth.ambient", ambient.waypoints),
    Analyzer("sailcloth.ambient", ambient.namespaces),
    Analyzer("sailcloth.ambient", ambient.workloads, ("Gateway",)),
    Analyzer("sailcloth.authorization", identities.principals),
    Analyzer("sailcloth.authorization", identities.operations),
    Analyzer("sailcloth.authorization", identities.mutual_tls),
    Analyzer("sailcloth.authorization", identities.http_on_tcp, ("Pod", "Service")),
    Analyzer("sailcloth.authorization", identities.coverage),
    Analyzer("sailcloth.certificates", certificates.key_pairs),
    Analyzer("sailcloth.gateway-api", kubernetes_routes.classes),
    Analyzer("sailcloth.gateway-api", kubernetes_routes.listeners),
    Analyzer("sailcloth.gateway-api", kubernetes_routes.parents, ("Gateway", "Service")),
    Analyzer("sailcloth.gateway-api", kubernetes_routes.backends, ("Service",)),
    Analyzer("sailcloth.gateway-api", kubernetes_routes.grants),
    Analyzer("sailcloth.legacy", Each(routes.legacy_losses, *(k.name for k in LEGACY_KINDS))),
    Analyzer("sailcloth.mesh-options", mesh_options.mesh),
    Analyzer("sailcloth.mesh-options", mesh_options.proxies),
    Analyzer("sailcloth.mutual-tls", levels.several),
    Analyzer("sailcloth.mutual-tls", Each(levels.without_workload, *levels.SELECTING), ("Pod",)),
    Analyzer("sailcloth.mutual-tls", Each(levels.client_modes, "DestinationRule")),
    Analyzer("sailcloth.mutual-tls", levels.started),
    Analyzer("sailcloth.ports", Each(ports.protocols, "Service")),
    Analyzer("sailcloth.ports", ports.targets),
    Analyzer("sailcloth.ports", Each(ports.aliases, "Service")),
    Analyzer("sailcloth.ports", ports.duplicate_entries),
    Analyzer("sailcloth.ports", ports.shared_tcp_ports),
    Analyzer("sailcloth.routes", Each(routes.weights, "VirtualService")),
    Analyzer("sailcloth.routes", Each(routes.retries, "VirtualService")),
    Analyzer("sailcloth.scopes", scopes.exports),
    Analyzer("sailcloth.scopes", Each(scopes.sidecar_hosts, "Sidecar"), ("Service", "ServiceEntry")),
    Analyzer("sailcloth.scopes", Each(scopes.sidecar_defaults, "Sidecar")),
    Analyzer("sailcloth.scopes", scopes.hidden_destinations),
    Analyzer("sailcloth.patches", statuses.patches),
    Analyzer("sailcloth.subsets", virtual_services.client_subsets, ("DestinationRule",)),
    Analyzer("sailcloth.subsets", subsets.duplicates),
    Analyzer("sailcloth.subsets", Each(subsets.without_labels, "DestinationRule")),
    Analyzer("sailcloth.subsets", subsets.unused, ("VirtualService",)),
    Analyzer("sailcloth.workload-groups", ports.workload_groups),
    *(Analyzer(f"{_SCHEMA}{kind}", Each(schemas.of_any, kind)) for kind in schemas.KINDS),
)  # fmt: skip

BY_NAME_ONLY: tuple[Analyzer, ...] = (Analyzer("maturity.AlphaAnalyzer", resource_annotations.alpha),)
"""Analyzers that run only if they are named."""


def run(objects: ObjectSet, names: Collection[str] = ()) -> list[Finding]:
    """The findings of all analyzers, or of the named ones: without repetitions, sorted by severity, code and object.

    A name is an analyzer's, or the beginning of several. Raises ValueError for a name of none.
    """
    chosen = selected(names)
    found = (f for a in chosen if not objects.unread.intersection(a.needs) for f in a.check(objects))
    return sorted(dict.fromkeys(found), key=order)


def selected(names: Collection[str]) -> list[Analyzer]:
    """The named analyzers; all for no name."""
    chosen = []
    for name in names:
        wanted = next((own for other, own in _ALIASES if name.lower().startswith(other)), name.lower())
        found = [a for a in (*ANALYZERS, *BY_NAME_ONLY) if a.name.lower().startswith(wanted)]
        if not found:
            raise ValueError(f"no analyzer {name!r}; --list-analyzers names them")
        chosen += found
    return list(dict.fromkeys(chosen)) if names else list(ANALYZERS)


_ALIASES = (
    ("schemavalidation.collectionvalidationanalyzer", "schema.validationanalyzer."),
    ("schema.collectionvalidationanalyzer", "schema.validationanalyzer."),
    ("meshnetworks.", "multicluster.meshnetworksanalyzer"),
    ("serviceentry.conflicting", "serviceentry.conflictingprotocolanalyzer"),
    ("k8sgateway.crd", "k8sgateway.crdversionanalyzer"),
)
"""Beginnings of other names that Istio has for an analyzer, in lower case."""


def order(finding: Finding) -> tuple[int, str, str, str]:
    """The order of findings: by severity, code, object and field."""
    return ("Error", "Warning", "Info").index(finding.severity), finding.code, str(finding.resource), finding.path
