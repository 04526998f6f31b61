"""Fields of Istio's API that are accepted without effect, or that differ from Istio. Data for `docs/compatibility.md`.

Every field that no code outside `api` reads must be listed here; a test checks it.
"""

from __future__ import annotations

NO_EFFECT = {
    "VirtualService.spec.http.fault.delay.exponentialDelay": "refused, as in Istio",
    "VirtualService.spec.http.fault.abort.http2Error": "refused, as in Istio",
    "VirtualService.spec.tcp.match.sourceSubnet": "as in Istio",
    "DestinationRule.spec.trafficPolicy.retryBudget.budgetInterval": "not in Envoy's interface yet",
    "DestinationRule.spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.minClusterSize": "not yet: endpoints of the client's own "
    "locality come first, whatever their share",
    "Gateway.spec.servers.port.targetPort": "as in Istio",
    "Gateway.spec.servers.defaultEndpoint": "as in Istio",
    "Gateway.spec.servers.name": "as in Istio",
    "Sidecar.spec.ingress.port.targetPort": "as in Istio",
    "EnvoyFilter.spec.configPatches.match.waypoint": "there are no waypoints",
    "EnvoyFilter.spec.configPatches.match.listener.portName": "as in Istio",
    "Telemetry.spec.metrics.reportingInterval": "bytes of TCP connections are counted at their end: Envoy's periodic log entries have "
    "sums, and its statistics cannot add differences",
    "Telemetry.spec.metrics.overrides.match.customMetric": "there are no others than Istio's",
    "WorkloadEntry.spec.network": "one network",
    "ServiceEntry.spec.endpoints.network": "one network",
    "WorkloadGroup.spec.template.network": "handed to the entries, and no more: one network",
    "WorkloadGroup.spec.probe": "run by the workload's own agent; that there is one makes health count",
}
"""Field path → why, or when. Fields below have no effect either."""

DIFFERENT = {
    "VirtualService.spec.hosts": "several objects for one host are joined in the mesh, not only at gateways; "
    "`virtualServiceMerging: OLDEST_WINS` restores Istio's way",
    "VirtualService.spec.http.route.destination.subset": "a rule waits until its subsets exist instead of answering 503",
    "VirtualService.spec.http.retries.retryOn": "unset: `connect-failure,refused-stream,reset-before-request`, so that no request is "
    "done twice; Istio's has `unavailable,cancelled` too",
    "DestinationRule.spec.subsets": "a subset in use stays until no rule sends traffic to it; a caller's own rule does not hide "
    "those of the service's",
    "Gateway.spec.servers.port.protocol": "UDP: datagrams go where a VirtualService's first TCP rule for the port says; Istio opens no such port",
    "Gateway.spec.servers.hosts": "a host that another TLS server of the port answers for gets 421",
    "DestinationRule.spec.trafficPolicy.outlierDetection.maxEjectionPercent": "unset: 10 %, but at least one endpoint",
    "DestinationRule.spec.trafficPolicy.tls.credentialName": "at sidecars a rule that selects the workload is enough; no Role to read Secrets",
    "DestinationRule.spec.trafficPolicy.connectionPool.http.h2UpgradePolicy": "HTTP/2 between sidecars unless DO_NOT_UPGRADE",
    "AuthorizationPolicy.spec.provider": "a connection of bytes that a rule matches is refused if the provider speaks HTTP only",
    **{
        f"{kind}.spec.targetRefs": "a Gateway, by the label `gateway.networking.k8s.io/gateway-name` of its pods; others are for waypoints"
        for kind in ("AuthorizationPolicy", "EnvoyFilter", "RequestAuthentication", "Telemetry")
    },
    "RequestAuthentication.spec.jwtRules.jwks": "symmetric keys are not used: whoever reads one can sign",
    "RequestAuthentication.spec.jwtRules.jwksUri": "not from addresses of the control plane's machine and of metadata services "
    "(MeshConfig `blockedCidrsInJwksUris`)",
    "Telemetry.spec.metrics.overrides.tagOverrides.value": "CEL as Envoy has it: attributes of the request, no conversions but an outer "
    "`string(…)`; what Envoy would refuse is left out, and the status says so",
    "Telemetry.spec.accessLogging.filter.expression": "likewise",
    "EnvoyFilter.spec.configPatches": "an HTTP filter added at the end goes before the router; each patch's matches are counted in status",
}
"""Field path → how it differs."""

LEGACY_NOTES = (
    "what is not converted as it says is told in the object's status",
    "today's objects win: an AuthorizationPolicy that selects a workload replaces role-based access control for it, and a "
    "PeerAuthentication the Policy of its level",
    "role-based access control covers the workloads of services with a selector, on all their ports; at gateways it does not hold",
    "`origins`: without `triggerRules` a missing token is answered with 401, with them with 403; a token that is not valid is refused "
    "on every path; paths by regex are not told apart, and all need a token",
    "Mixer's quotas (memquota, redisquota) become RateLimits over all replicas, deniers and lists DENY policies; conditions are comparisons "
    "joined by `&&`, and labels of the caller are not known to proxies; the other kinds of config.istio.io are stored with a warning",
    "`principalBinding: USE_ORIGIN`, the constraint `destination.user`, and `destination.labels` with a wildcard have no equivalent",
)
"""How the kinds of Istio 1.0 to 1.5 are converted."""
