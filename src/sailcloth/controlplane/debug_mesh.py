"""The mesh as Istio's debug pages show it: services, endpoints, configuration, policies, options. Field names are Istio's.

Pure: from a `Mesh` to builtins. Must not show Secrets, and knows neither proxies nor transports. Source: istio.md 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sailcloth.api.core import ConfigMap
from sailcloth.api.kinds import LEGACY_KINDS, MESH_KINDS, Kind
from sailcloth.api.meta import Key
from sailcloth.lib import bounded_yaml
from sailcloth.mesh import endpoints, services
from sailcloth.mesh.model import Endpoint, Service
from sailcloth.mesh.registry import Mesh

Object = dict[str, Any]
CLUSTER = "Kubernetes"
_RESOLUTIONS = ("EDS", "DNS", "PASSTHROUGH", "DNS_ROUND_ROBIN", "ALIAS")  # in the order of Istio's numbers
_KINDS: dict[str, Kind] = {k.name: k for k in (*MESH_KINDS, *LEGACY_KINDS)}


def service(svc: Service) -> Object:
    """A service in the form of `registryz`."""
    attributes = {
        "ServiceRegistry": "Kubernetes" if svc.kubernetes else "External",
        "Name": svc.name,
        "Namespace": svc.namespace,
        "Labels": dict(svc.labels),
        "LabelSelectors": dict(svc.selector),
    }
    return {
        "Attributes": attributes,
        "ports": [{"name": p.name, "port": p.number, "protocol": str(p.protocol)} for p in svc.ports],
        "creationTime": svc.created,
        "hostname": svc.host,
        "clusterVIPs": {"Addresses": {CLUSTER: list(svc.addresses)}},
        "defaultAddress": next(iter((*svc.addresses, *svc.allocated)), "0.0.0.0"),  # noqa: S104  Istio's value for none
        "Resolution": _RESOLUTIONS.index(svc.resolution.removeprefix("DYNAMIC_")),
        "MeshExternal": svc.external,
    }


def all_services(mesh: Mesh, allowed: str) -> Iterator[Service]:
    """The services of a namespace, `*` for all, by host."""
    for ident in mesh.service_ids():
        if allowed in ("*", ident.namespace) and (svc := mesh.graph.get(services.service, ident)) is not None:
            yield svc


def endpoint_shards(mesh: Mesh, allowed: str) -> Object:
    """Endpoints by host, namespace and shard, in the form of `endpointShardz`."""
    shards: Object = {}
    for svc in all_services(mesh, allowed):
        found = [(p.name, e) for p in svc.ports for e in mesh.graph.get(endpoints.of_port, svc.source, svc.host, p)]
        accounts: Object = {e.service_account: {} for _, e in found if e.service_account}
        shard = f"{'Kubernetes' if svc.kubernetes else 'External'}/{CLUSTER}"
        shown = {"Shards": {shard: [_endpoint(name, e) for name, e in found]}, "ServiceAccounts": accounts}
        shards.setdefault(svc.host, {})[svc.namespace] = shown
    return shards


def _endpoint(port: str, endpoint: Endpoint) -> Object:
    return {
        "Labels": dict(endpoint.labels),
        "Addresses": [endpoint.address],
        "ServicePortName": port,
        "ServiceAccount": endpoint.service_account,
        "Locality": {"Label": endpoint.locality, "ClusterID": CLUSTER},
        "EndpointPort": endpoint.port,
        "LbWeight": endpoint.weight,
        "TLSMode": "istio" if endpoint.mtls else "disabled",
        "Namespace": endpoint.namespace,
        "WorkloadName": endpoint.workload,
        "HostName": endpoint.hostname,
        "HealthStatus": 1 if endpoint.healthy else 2,
    }


def configuration(mesh: Mesh, *kinds: str) -> list[Object]:
    """The mesh's own objects, of these kinds or of all, sorted; never a Kubernetes kind, and so never a Secret."""
    shown = []
    for key in sorted(k for k in mesh.objects if k.kind in (kinds or _KINDS)):
        body = msgspec.to_builtins(mesh.objects[key])
        shown.append({"kind": key.kind, "apiVersion": _KINDS[key.kind].api_version, **body})
    return shown


def policies(mesh: Mesh) -> Object:
    """In the form of `authorizationz`."""
    kinds = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
    return _by_namespace(mesh, "namespace_to_policies", *kinds)


def telemetries(mesh: Mesh) -> Object:
    """In the form of `telemetryz`."""
    return _by_namespace(mesh, "namespace_to_telemetries", "Telemetry")


def _by_namespace(mesh: Mesh, field: str, *kinds: str) -> Object:
    grouped: dict[str, list[Object]] = {}
    for obj in configuration(mesh, *kinds):
        meta = obj["metadata"]
        row = {"name": meta["name"], "namespace": meta.get("namespace", ""), "spec": obj.get("spec", {})}
        grouped.setdefault(row["namespace"], []).append(row)
    return {field: grouped, "root_namespace": mesh.config.root_namespace}


def options(mesh: Mesh) -> Object:
    """The MeshConfig in force: what the ConfigMap says, over the defaults."""
    config = mesh.config
    stored = mesh.objects.get(Key("ConfigMap", config.root_namespace, "istio"))
    text = stored.data.get("mesh", "") if isinstance(stored, ConfigMap) else ""
    return {
        "trustDomain": config.trust_domain,
        "rootNamespace": config.root_namespace,
        "enableAutoMtls": config.enable_auto_mtls,
        "outboundTrafficPolicy": {"mode": config.outbound_mode},
        "inboundTrafficPolicy": {"mode": config.inbound_mode},
        "connectTimeout": f"{config.connect_timeout_ms / 1000:g}s",
        "protocolDetectionTimeout": f"{config.detection_timeout_ms / 1000:g}s",
        **(bounded_yaml.load(text) or {}),
    }
