"""ClusterLoadAssignments: endpoints grouped by locality, with the metadata that picks TLS and names workloads."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2, base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3 import endpoint_pb2

from sailcloth.envoy import names
from sailcloth.envoy.protobuf import encode
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.mesh.model import Endpoint
from sailcloth.view.clusters import ClusterPlan, EndpointsPlan


def assignment(plan: EndpointsPlan) -> EnvoyResource:
    """The endpoints of an EDS cluster."""
    name = names.outbound(plan.id)
    out = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    _fill(out, [(e, _lb_endpoint(e, tls)) for e, tls in zip(plan.endpoints, plan.mtls, strict=True)])
    return resource(name, encode(out))


def dns_assignment(name: str, plan: ClusterPlan) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints of a DNS cluster; without any, the host's own name is looked up."""
    found = plan.endpoints or (Endpoint(plan.service.host, plan.port.number),)
    out = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if plan.resolution == "DNS_ROUND_ROBIN":
        found = found[:1]
    _fill(out, [(e, _lb_endpoint(e, e.mtls)) for e in found])
    return out


def _fill(out: endpoint_pb2.ClusterLoadAssignment, found: list[tuple[Endpoint, components.LbEndpoint]]) -> None:
    groups: dict[str, list[components.LbEndpoint]] = {}
    weights: dict[str, int] = {}
    for e, lb in found:
        groups.setdefault(e.locality, []).append(lb)
        weights[e.locality] = weights.get(e.locality, 0) + e.weight
    for locality in sorted(groups):
        group = out.endpoints.add(lb_endpoints=groups[locality])
        if locality:
            region, _, rest = locality.partition("/")
            zone, _, sub_zone = rest.partition("/")
            group.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
        group.load_balancing_weight.value = weights[locality]


def _lb_endpoint(e: Endpoint, mtls: bool) -> components.LbEndpoint:
    if e.address.startswith("unix://"):
        address = address_pb2.Address(pipe=address_pb2.Pipe(path=e.address.removeprefix("unix://")))
    else:
        address = address_pb2.Address(socket_address=address_pb2.SocketAddress(address=e.address, port_value=e.port))
    out = components.LbEndpoint(
        endpoint=components.Endpoint(address=address),
        health_status=health_check_pb2.HEALTHY if e.healthy else health_check_pb2.UNHEALTHY,
    )
    out.load_balancing_weight.value = e.weight
    if mtls:
        out.metadata.filter_metadata["envoy.transport_socket_match"].fields["tlsMode"].string_value = "istio"
    if e.workload:
        labels = dict(e.labels)
        app = labels.get("service.istio.io/canonical-name") or labels.get("app", "")
        version = labels.get("service.istio.io/canonical-revision") or labels.get("version", "")
        text = f"{e.workload};{e.namespace};{app};{version};Kubernetes"
        out.metadata.filter_metadata["istio"].fields["workload"].string_value = text
    return out
