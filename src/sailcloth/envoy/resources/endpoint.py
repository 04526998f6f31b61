"""Builds ClusterLoadAssignments: endpoints grouped by locality, with metadata that selects TLS and names workloads."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2, base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3 import endpoint_pb2

from sailcloth.api import workload_labels
from sailcloth.envoy import names
from sailcloth.envoy.protobuf import encode
from sailcloth.envoy.resource import EnvoyResource, resource
from sailcloth.mesh.model import Endpoint
from sailcloth.view import locality
from sailcloth.view.clusters import ClusterPlan, EndpointsPlan
from sailcloth.view.locality import LocalityPlan
from sailcloth.view.udp import DatagramsPlan

_MAX_TOTAL_WEIGHT = 2**32 - 1  # Envoy's limit for the sum of a cluster's endpoint weights


def assignment(plan: EndpointsPlan) -> EnvoyResource:
    """The endpoints of an EDS cluster."""
    name = names.outbound(plan.id)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    _fill(message, plan.endpoints, plan.mtls, plan.preference)
    return resource(name, encode(message))


def datagrams(plan: DatagramsPlan) -> EnvoyResource:
    """The endpoints of a UDP port: none with mutual TLS."""
    name = names.datagrams(plan.id)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    _fill(message, plan.endpoints, (False,) * len(plan.endpoints), None)
    return resource(name, encode(message))


def dns_assignment(name: str, plan: ClusterPlan) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints of a DNS cluster; by default the service's host at the port's targetPort."""
    target = plan.port.target if isinstance(plan.port.target, int) else plan.port.number
    endpoints = plan.endpoints or (Endpoint(plan.service.host, target),)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if plan.resolution == "DNS_ROUND_ROBIN":
        endpoints = endpoints[:1]
    _fill(message, endpoints, tuple(e.mtls for e in endpoints), plan.preference)
    return message


def _fill(
    message: endpoint_pb2.ClusterLoadAssignment,
    endpoints: tuple[Endpoint, ...],
    mtls: tuple[bool, ...],
    preference: LocalityPlan | None,
) -> None:
    max_weight = _MAX_TOTAL_WEIGHT // max(1, len(endpoints))
    for each in locality.groups(preference, endpoints):
        group = message.endpoints.add(
            lb_endpoints=[_lb_endpoint(endpoints[i], mtls[i], max_weight) for i in each.members]
        )
        if each.locality:
            region, _, zone_and_sub_zone = each.locality.partition("/")
            zone, _, sub_zone = zone_and_sub_zone.partition("/")
            group.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
        group.load_balancing_weight.value = min(each.weight, max_weight * len(each.members))
        group.priority = each.priority


def _lb_endpoint(e: Endpoint, mtls: bool, max_weight: int) -> components.LbEndpoint:
    if e.address.startswith("unix://"):
        address = address_pb2.Address(pipe=address_pb2.Pipe(path=e.address.removeprefix("unix://")))
    else:
        address = address_pb2.Address(socket_address=address_pb2.SocketAddress(address=e.address, port_value=e.port))
    message = components.LbEndpoint(
        endpoint=components.Endpoint(address=address),
        health_status=health_check_pb2.HEALTHY if e.healthy else health_check_pb2.UNHEALTHY,
    )
    message.load_balancing_weight.value = min(e.weight, max_weight)
    if mtls:
        message.metadata.filter_metadata["envoy.transport_socket_match"].fields["tlsMode"].string_value = "istio"
    if e.workload:
        labels = dict(e.labels)
        canonical = workload_labels.canonical_service(labels), workload_labels.canonical_revision(labels)
        text = ";".join((e.workload, e.namespace, *canonical, "Kubernetes"))
        named = workload_labels.app(labels), workload_labels.version(labels)
        if named != canonical:
            text = ";".join((text, *named))  # ours; Istio's clients read five parts
        message.metadata.filter_metadata["istio"].fields["workload"].string_value = text
    return message
