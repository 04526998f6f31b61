"""Istio's annotations: the kinds of objects that they are read from, and those that are deprecated. Data only.

Source: the annotations of Istio's reference, and those of the Gateway API that Istio documents with them.
"""

from __future__ import annotations

ANY = "Any"
_ANY, _POD, _SERVICE, _ENTRY = (ANY,), ("Pod",), ("Service",), ("WorkloadEntry",)

_SIDECAR = (
    "agentLogLevel bootstrapOverride componentLogLevel extraStatTags inject interceptionMode logLevel nativeSidecar "
    "proxyCPU proxyCPULimit proxyImage proxyImageType proxyMemory proxyMemoryLimit rewriteAppHTTPProbers statsCompression "
    "statsEvictionInterval statsFlushInterval statsHistogramBins statsHistogramBuckets statsInclusionRegexps status "
    "userVolume userVolumeMount"
)
_TRAFFIC = (
    "excludeInboundPorts excludeInterfaces excludeOutboundIPRanges excludeOutboundPorts includeInboundPorts "
    "includeOutboundIPRanges includeOutboundPorts"
)
_READINESS = "applicationPorts failureThreshold initialDelaySeconds periodSeconds"

KINDS: dict[str, tuple[str, ...]] = {
    "alpha.istio.io/canonical-serviceaccounts": _SERVICE,
    "alpha.istio.io/identity": _POD,
    "alpha.istio.io/kubernetes-serviceaccounts": _SERVICE,
    "ambient.istio.io/bypass-inbound-capture": _POD,
    "ambient.istio.io/dns-capture": _POD,
    "ambient.istio.io/redirection": _POD,
    "ambient.istio.io/waypoint-inbound-binding": ("Gateway", "GatewayClass"),
    "galley.istio.io/analyze-suppress": _ANY,
    "gateway.istio.io/controller-version": ("Gateway",),
    "gateway.istio.io/name-override": ("Gateway",),
    "gateway.istio.io/service-account": ("Gateway",),
    "inject.istio.io/templates": _POD,
    "install.operator.istio.io/chart-owner": _ANY,
    "install.operator.istio.io/owner-generation": _ANY,
    "install.operator.istio.io/version": _ANY,
    "internal.istio.io/gateway-semantics": _ANY,
    "internal.istio.io/gateway-service": _ANY,
    "internal.istio.io/parents": _ANY,
    "internal.istio.io/route-semantics": _ANY,
    "istio.io/autoRegistrationGroup": _ENTRY,
    "istio.io/connectedAt": _ENTRY,
    "istio.io/disconnectedAt": _ENTRY,
    "istio.io/dry-run": ("AuthorizationPolicy",),
    "istio.io/reroute-virtual-interfaces": _POD,
    "istio.io/rev": _POD,
    "istio.io/workloadController": _ENTRY,
    "kubernetes.io/ingress.class": ("Ingress",),
    "networking.istio.io/address-type": ("Gateway",),
    "networking.istio.io/exportTo": _SERVICE,
    "networking.istio.io/service-type": ("Gateway",),
    "networking.istio.io/traffic-distribution": ("Namespace", "Service", "ServiceEntry"),
    "policy.istio.io/check": _POD,
    "policy.istio.io/checkBaseRetryWaitTime": _POD,
    "policy.istio.io/checkMaxRetryWaitTime": _POD,
    "policy.istio.io/checkRetries": _POD,
    "policy.istio.io/lang": _POD,
    "prometheus.istio.io/merge-metrics": _POD,
    "prometheus.istio.io/scrape-targets": _POD,
    "prometheus.istio.io/secure-port": _POD,
    "proxy.istio.io/config": _POD,
    "proxy.istio.io/health-checks-enabled": _ENTRY,
    "proxy.istio.io/overrides": _POD,
    "security.istio.io/autoMTLS": _POD,
    "sidecar.istio.io/controlPlaneAuthPolicy": _POD,
    "sidecar.istio.io/discoveryAddress": _POD,
    "sidecar.istio.io/enableCoreDump": _POD,
    "sidecar.istio.io/statsInclusionPrefixes": _POD,
    "sidecar.istio.io/statsInclusionSuffixes": _POD,
    "status.sidecar.istio.io/port": _POD,
    "topology.istio.io/controlPlaneClusters": ("Namespace",),
    "traffic.istio.io/nodeSelector": _SERVICE,
    "traffic.sidecar.istio.io/kubevirtInterfaces": _POD,
    **{f"sidecar.istio.io/{name}": _POD for name in _SIDECAR.split()},
    **{f"traffic.sidecar.istio.io/{name}": _POD for name in _TRAFFIC.split()},
    **{f"readiness.status.sidecar.istio.io/{name}": _POD for name in _READINESS.split()},
}
"""The kinds of objects, by annotation."""

DEPRECATED: dict[str, str] = {
    "alpha.istio.io/canonical-serviceaccounts": "",
    "alpha.istio.io/identity": "",
    "alpha.istio.io/kubernetes-serviceaccounts": "",
    "kubernetes.io/ingress.class": "",
    "policy.istio.io/check": "",
    "policy.istio.io/checkBaseRetryWaitTime": "",
    "policy.istio.io/checkMaxRetryWaitTime": "",
    "policy.istio.io/checkRetries": "",
    "policy.istio.io/lang": "",
    "sidecar.istio.io/controlPlaneAuthPolicy": "",
    "sidecar.istio.io/discoveryAddress": "",
    "sidecar.istio.io/enableCoreDump": "",
    "sidecar.istio.io/statsInclusionPrefixes": ' in favor of "proxyStatsMatcher.inclusionPrefixes"',
    "sidecar.istio.io/statsInclusionRegexps": ' in favor of "proxyStatsMatcher.inclusionRegexps"',
    "sidecar.istio.io/statsInclusionSuffixes": ' in favor of "proxyStatsMatcher.inclusionSuffixes"',
    "traffic.sidecar.istio.io/kubevirtInterfaces": ' in favor of "istio.io/reroute-virtual-interfaces"',
}
"""What to use instead, by annotation."""

ALPHA = frozenset(
    (
        "ambient.istio.io/bypass-inbound-capture",
        "inject.istio.io/templates",
        "istio.io/autoRegistrationGroup",
        "istio.io/connectedAt",
        "istio.io/disconnectedAt",
        "istio.io/dry-run",
        "istio.io/workloadController",
        "networking.istio.io/exportTo",
        "prometheus.istio.io/merge-metrics",
        "proxy.istio.io/overrides",
        "topology.istio.io/controlPlaneClusters",
        "traffic.sidecar.istio.io/excludeInterfaces",
        *(f"sidecar.istio.io/{name}" for name in _SIDECAR.split() if name not in ("inject", "status")),
        *(f"readiness.status.sidecar.istio.io/{name}" for name in _READINESS.split()),
        *(f"traffic.sidecar.istio.io/{name}" for name in _TRAFFIC.split()),
    )
)
"""Annotations of features that Istio calls alpha."""
