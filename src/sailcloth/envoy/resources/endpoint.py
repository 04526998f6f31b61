"""ClusterLoadAssignments: endpoints grouped by locality, with the metadata that picks TLS and names workloads."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2, base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3 import endpoint_pb2

from sailcloth.envoy import names
from sailcloth.envoy.protobuf import encode
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.mesh.model import Endpoint
from sailcloth.view import locality
from sailcloth.view.clusters import ClusterPlan, EndpointsPlan
from sailcloth.view.locality import LocalityPlan

_LARGEST_SUM = 2**32 - 1  # of the weights of a cluster's endpoints, as Envoy has it


def assignment(plan: EndpointsPlan) -> EnvoyResource:
    """The endpoints of an EDS cluster."""
    name = names.outbound(plan.id)
    out = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    _fill(out, plan.endpoints, plan.mtls, plan.preference)
    return resource(name, encode(out))


def dns_assignment(name: str, plan: ClusterPlan) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints of a DNS cluster; without any, the host's own name is looked up, and dialled at the port's targetPort."""
    target = plan.port.target if isinstance(plan.port.target, int) else plan.port.number
    found = plan.endpoints or (Endpoint(plan.service.host, target),)
    out = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if plan.resolution == "DNS_ROUND_ROBIN":
        found = found[:1]
    _fill(out, found, tuple(e.mtls for e in found), plan.preference)
    return out


def _fill(
    out: endpoint_pb2.ClusterLoadAssignment,
    found: tuple[Endpoint, ...],
    mtls: tuple[bool, ...],
    preference: LocalityPlan | None,
) -> None:
    most = _LARGEST_SUM // max(1, len(found))
    for each in locality.groups(preference, found):
        group = out.endpoints.add(lb_endpoints=[_lb_endpoint(found[i], mtls[i], most) for i in each.members])
        if each.locality:
            region, _, rest = each.locality.partition("/")
            zone, _, sub_zone = rest.partition("/")
            group.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
        group.load_balancing_weight.value = min(each.weight, most * len(each.members))
        group.priority = each.priority


def _lb_endpoint(e: Endpoint, mtls: bool, most: int) -> components.LbEndpoint:
    if e.address.startswith("unix://"):
        address = address_pb2.Address(pipe=address_pb2.Pipe(path=e.address.removeprefix("unix://")))
    else:
        address = address_pb2.Address(socket_address=address_pb2.SocketAddress(address=e.address, port_value=e.port))
    out = components.LbEndpoint(
        endpoint=components.Endpoint(address=address),
        health_status=health_check_pb2.HEALTHY if e.healthy else health_check_pb2.UNHEALTHY,
    )
    out.load_balancing_weight.value = min(e.weight, most)
    if mtls:
        out.metadata.filter_metadata["envoy.transport_socket_match"].fields["tlsMode"].string_value = "istio"
    if e.workload:
        labels = dict(e.labels)
        app = labels.get("service.istio.io/canonical-name") or labels.get("app", "")
        version = labels.get("service.istio.io/canonical-revision") or labels.get("version", "")
        text = f"{e.workload};{e.namespace};{app};{version};Kubernetes"
        out.metadata.filter_metadata["istio"].fields["workload"].string_value = text
    return out
