"""Computes a proxy's configuration from manifests, without a cluster, in the shape of Envoy's config dump."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sailcloth.api.core import ConfigMap
from sailcloth.api.meta import Key, Object
from sailcloth.envoy import build
from sailcloth.envoy.resource import EnvoyResource
from sailcloth.mesh import mesh_config
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.registry import Mesh
from sailcloth.view.proxy import Proxy, described
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource

_ORDER = (
    (LISTENER, "ListenersConfigDump", "dynamic_listeners"),
    (ROUTES, "RoutesConfigDump", "dynamic_route_configs"),
    (CLUSTER, "ClustersConfigDump", "dynamic_active_clusters"),
    (ENDPOINTS, "EndpointsConfigDump", "dynamic_endpoint_configs"),
)
_DEFAULTS = {"type": "sidecar", "namespace": "default", "ip": "1.1.1.1"}


def describe(spec: dict[str, Any]) -> Proxy:
    """A proxy from a description with the keys type, id, namespace, ip, dnsDomain, labels, metadata; all optional.

    Raises ValueError for an unknown type or an unknown key.
    """
    unknown = sorted(set(spec) - {"type", "id", "namespace", "ip", "dnsDomain", "labels", "metadata"})
    if unknown:
        raise ValueError(
            f"proxy description: unknown key {unknown[0]!r}; known are type, id, namespace, ip, dnsDomain, labels, metadata"
        )
    values = {**_DEFAULTS, **{k: v for k, v in spec.items() if v is not None}}
    if values["type"] not in ("sidecar", "router"):
        raise ValueError(f"proxy description: type is {values['type']!r}, must be sidecar or router")
    metadata = dict(values.get("metadata") or {})
    name, _, namespace = str(values.get("id") or "").rpartition(".")
    if "namespace" not in spec:
        values["namespace"] = metadata.get("NAMESPACE") or metadata.get("namespace") or namespace or "default"
    labels = values.get("labels") or metadata.get("LABELS") or metadata.get("labels") or {}
    domain = str(values.get("dnsDomain") or "cluster.local")
    ips = map(str, values["ip"] if isinstance(values["ip"], list) else [values["ip"]])
    return described(values["type"], name or "app", str(values["namespace"]), ips, labels, domain, metadata)


def resources(mesh: Mesh, proxy: Proxy) -> dict[str, list[EnvoyResource]]:
    """All resources of a proxy by type URL."""
    by_type: dict[str, list[EnvoyResource]] = {}
    for url, parts in build.collections(mesh.graph, proxy).items():
        of_type = by_type.setdefault(url, [])
        for part in parts:
            for ident in mesh.graph.get(part.ids, *part.args):
                resource = mesh.graph.get(part.resource, *part.args, ident)
                if resource is not None:
                    of_type.append(resource)
    return by_type


def config_dump(resources_by_type: Mapping[str, Sequence[Resource]]) -> dict[str, Any]:
    """The resources in the shape of Envoy's `/config_dump`, with the endpoints of EDS clusters only."""
    from envoy.config.cluster.v3 import cluster_pb2
    from envoy.config.endpoint.v3 import endpoint_pb2
    from envoy.config.listener.v3 import listener_pb2
    from envoy.config.route.v3 import route_pb2
    from google.protobuf import json_format
    from google.protobuf.message import Message

    types: dict[str, type[Message]] = {
        LISTENER: listener_pb2.Listener,
        ROUTES: route_pb2.RouteConfiguration,
        CLUSTER: cluster_pb2.Cluster,
        ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    }
    eds = {r.name for r in resources_by_type.get(CLUSTER, ()) if cluster_pb2.Cluster.FromString(r.body).type == 3}
    configs = []
    for url, dump, field in _ORDER:
        entries = []
        for r in resources_by_type.get(url, ()):
            if url == ENDPOINTS and r.name not in eds:
                continue
            message = json_format.MessageToDict(types[url].FromString(r.body), preserving_proto_field_name=True)
            body = {"@type": url, **message}
            if url == LISTENER:
                entries.append({"name": r.name, "active_state": {"version_info": r.version, "listener": body}})
            else:
                label = {ROUTES: "route_config", CLUSTER: "cluster", ENDPOINTS: "endpoint_config"}[url]
                entries.append({"version_info": r.version, label: body})
        configs.append({"@type": f"type.googleapis.com/envoy.admin.v3.{dump}", field: entries})
    return {"configs": configs}


def mesh_of(objects: list[tuple[Key, Object]], config: MeshConfig | None = None) -> Mesh:
    """A mesh with these objects. Its options are `config`, or else those of a ConfigMap `istio` among the objects.

    Raises ValueError with the option that is not valid."""
    for key, obj in objects if config is None else ():
        if key.kind == "ConfigMap" and key.name == "istio" and isinstance(obj, ConfigMap):
            config = mesh_config.parse(obj.data.get("mesh", ""))
    mesh = Mesh(config)
    for key, obj in objects:
        mesh.apply(key, obj)
    return mesh
