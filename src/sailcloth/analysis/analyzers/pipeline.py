"""The analyzers, in order, and their run. An analyzer is a pure function of the objects; none knows another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sailcloth.api.meta import Finding

from . import (
    authorization,
    certificates,
    destination_rules,
    envoy_filters,
    gateway_bindings,
    gateways,
    kubernetes_gateways,
    multiple_clusters,
    resource_annotations,
    schemas,
    selectors,
    service_entries,
    services,
    sidecar_injection,
    statuses,
    telemetry,
    virtual_services,
    webhooks,
)
from .objects import ObjectSet


@dataclass(frozen=True, slots=True)
class Analyzer:
    """A check. `name`: as istioctl names it. `needs`: kinds without which it says nothing, because they could not be read."""

    name: str
    description: str
    check: Callable[[ObjectSet], Iterator[Finding]]
    needs: tuple[str, ...] = ()


ANALYZERS: tuple[Analyzer, ...] = (
    Analyzer(
        "annotations.K8sAnalyzer",
        "Checks for misplaced and invalid Istio annotations in Kubernetes resources",
        resource_annotations.check,
    ),
    Analyzer(
        "authn.BlockedCIDRsAnalyzer",
        "Checks that BLOCKED_CIDRS_IN_JWKS_URIS is configured when RequestAuthentication resources exist",
        authorization.key_fetching,
    ),
    Analyzer(
        "authz.AuthorizationPoliciesAnalyzer",
        "Checks the validity of authorization policies",
        authorization.workloads,
        ("Pod",),
    ),
    Analyzer(
        "authz.AuthorizationPoliciesAnalyzer",
        "Checks the validity of authorization policies",
        authorization.namespaces,
        ("Namespace",),
    ),
    Analyzer("conditions.ConditionAnalyzer", "Checks for negative status conditions", statuses.conditions),
    Analyzer("deployment.ApplicationUIDAnalyzer", "Checks invalid application UID", services.users),
    Analyzer(
        "deployment.ServiceAssociationAnalyzer", "Checks association between services and pods", services.associations
    ),
    Analyzer("deprecation.FieldAnalyzer", "Checks for deprecated Istio types and fields", schemas.deprecations),
    Analyzer(
        "destinationrule.CaCertificateAnalyzer",
        "Checks if caCertificates is set when TLS mode is SIMPLE/MUTUAL",
        destination_rules.certificates,
    ),
    Analyzer(
        "destinationrule.PodNotSelectedAnalyzer",
        "Checks if destination rule hosts and subsets select services and pods",
        destination_rules.endpoints,
        ("Service", "ServiceEntry", "Pod"),
    ),
    Analyzer(
        "envoyfilter.EnvoyPatchAnalyzer",
        "Checks an envoyFilters to see if the relative ordering is used in patches",
        envoy_filters.patches,
    ),
    Analyzer(
        "externalcontrolplane.ExternalControlPlaneAnalyzer",
        "Checks that the remote IstioOperator resources reference an external control plane",
        webhooks.external_control_planes,
    ),
    Analyzer("gateway.CertificateAnalyzer", "Checks a gateway certificate", certificates.shared),
    Analyzer(
        "gateway.ConflictingGatewayAnalyzer", "Checks a gateway's selector, port number and hosts", gateways.conflicts
    ),
    Analyzer(
        "gateway.IngressGatewayPortAnalyzer",
        "Checks a gateway's ports against the gateway's Kubernetes service ports",
        gateways.ports,
        ("Pod", "Service"),
    ),
    Analyzer(
        "gateway.SecretAnalyzer",
        "Checks a gateway's referenced secrets for correctness",
        certificates.secrets,
        ("Pod", "Secret"),
    ),
    Analyzer(
        "injection.Analyzer", "Checks conditions related to Istio sidecar injection", sidecar_injection.namespaces
    ),
    Analyzer("injection.Analyzer", "Checks conditions related to Istio sidecar injection", sidecar_injection.pods),
    Analyzer(
        "injection.ImageAnalyzer",
        "Checks that auto-injection configuration image matches the image used by pods",
        sidecar_injection.images,
    ),
    Analyzer(
        "injection.ImageAutoAnalyzer",
        "Makes sure that Pods and Deployments with `image: auto` are going to be injected",
        sidecar_injection.waiting,
    ),
    Analyzer(
        "k8sgateway.CRDVersionAnalyzer",
        "Checks the versions of the Gateway API's definitions",
        kubernetes_gateways.versions,
    ),
    Analyzer(
        "k8sgateway.SelectorAnalyzer",
        "Checks that selectors are effective on Kubernetes gateways",
        kubernetes_gateways.selectors,
    ),
    Analyzer(
        "multicluster.MeshNetworksAnalyzer",
        "Checks the validity of MeshNetworks in the cluster",
        multiple_clusters.networks,
        ("Secret",),
    ),
    Analyzer("service.PortNameAnalyzer", "Checks the port names associated with each service", services.port_names),
    Analyzer(
        "serviceentry.ConflictingProtocolAnalyzer",
        "Checks service entries that give one host and port several protocols",
        service_entries.protocols,
    ),
    Analyzer(
        "serviceentry.ProtocolAddressesAnalyzer",
        "Checks the validity of ServiceEntry Protocol",
        service_entries.addresses,
    ),
    Analyzer(
        "sidecar.SelectorAnalyzer",
        "Validates that sidecars that define a workload selector match at least one pod, and do not conflict",
        selectors.sidecars,
        ("Pod",),
    ),
    Analyzer(
        "telemetry.DefaultSelectorAnalyzer",
        "Validates that there aren't multiple telemetry resources that have no selector",
        selectors.namespace_telemetries,
    ),
    Analyzer("telemetry.LightstepAnalyzer", "Validates that lightstep is not used", telemetry.lightstep),
    Analyzer(
        "telemetry.ProviderAnalyzer", "Validates that providers in telemetry resources are valid", telemetry.providers
    ),
    Analyzer(
        "telemetry.SelectorAnalyzer",
        "Validates that telemetries that define a selector match at least one pod, and do not conflict",
        selectors.telemetries,
        ("Pod",),
    ),
    Analyzer(
        "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
        "Checks if multiple virtual services associated with the mesh gateway have conflicting hosts",
        virtual_services.conflicting_hosts,
    ),
    Analyzer(
        "virtualservice.DestinationHostAnalyzer",
        "Checks the destination hosts associated with each virtual service",
        virtual_services.destination_hosts,
        ("Service", "ServiceEntry"),
    ),
    Analyzer(
        "virtualservice.DestinationHostAnalyzer",
        "Checks the destination hosts associated with each virtual service",
        virtual_services.ingress_subsets,
    ),
    Analyzer(
        "virtualservice.DestinationRuleAnalyzer",
        "Checks the destination rules associated with each virtual service",
        virtual_services.destination_subsets,
        ("DestinationRule",),
    ),
    Analyzer(
        "virtualservice.GatewayAnalyzer",
        "Checks the gateways associated with each virtual service",
        gateway_bindings.references,
        ("Gateway",),
    ),
    Analyzer(
        "virtualservice.JWTClaimRouteAnalyzer",
        "Checks the VirtualService using JWT claim based routing has corresponding RequestAuthentication",
        gateway_bindings.claims,
        ("RequestAuthentication",),
    ),
    Analyzer("webhook.Analyzer", "Checks the validity of Istio webhooks", webhooks.injectors, ("Service",)),
    *(
        Analyzer(
            f"schema.ValidationAnalyzer.{kind}",
            f"Checks {kind} resources against their schema",
            schemas.validation_of(kind),
        )
        for kind in schemas.KINDS
    ),
)


BY_NAME_ONLY: tuple[Analyzer, ...] = (
    Analyzer(
        "maturity.AlphaAnalyzer",
        "Checks for alpha Istio annotations in Kubernetes resources",
        resource_annotations.alpha,
    ),
)
"""Analyzers that run only if they are named."""


def run(objects: ObjectSet, names: Collection[str] = ()) -> list[Finding]:
    """The findings of all analyzers, or of the named ones: without repetitions, sorted by severity, code and object.

    A name is an analyzer's, or the beginning of several. Raises ValueError for a name of none.
    """
    chosen = selected(names)
    found = (f for a in chosen if not objects.unread.intersection(a.needs) for f in a.check(objects))
    return sorted(dict.fromkeys(found), key=_order)


def selected(names: Collection[str]) -> list[Analyzer]:
    """The named analyzers; all for no name."""
    chosen = []
    for name in names:
        wanted = _ALIASES.get(name.lower(), name.lower())
        found = [a for a in (*ANALYZERS, *BY_NAME_ONLY) if a.name.lower().startswith(wanted)]
        if not found:
            raise ValueError(f"no analyzer {name!r}; --list-analyzers names them")
        chosen += found
    return list(dict.fromkeys(chosen)) if names else list(ANALYZERS)


_ALIASES = {
    "schemavalidation.collectionvalidationanalyzer": "schema.validationanalyzer.",
    "schema.collectionvalidationanalyzer": "schema.validationanalyzer.",
    "meshnetworks.meshnetworksanalyzer": "multicluster.meshnetworksanalyzer",
}
"""Other names that Istio has for an analyzer, in lower case."""


def _order(finding: Finding) -> tuple[int, str, str, str]:
    return ("Error", "Warning", "Info").index(finding.severity), finding.code, str(finding.resource), finding.path
