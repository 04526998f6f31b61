"""ServiceEntry and WorkloadEntry (networking.istio.io): services and workloads that Kubernetes does not know."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import D, Object, PortNumber, Struct


class WorkloadEntrySpec(Struct):
    """One workload that is not a pod."""

    address: Annotated[str | None, D("IP address, DNS name, or unix:///path.")] = None
    ports: Annotated[dict[str, int], D("Port numbers by name of the service's port.")] = {}
    labels: Annotated[dict[str, str], D("Labels of the workload.")] = {}
    network: Annotated[str | None, D("Network in which the address is valid.")] = None
    locality: Annotated[str | None, D("Locality, as region/zone/subzone.")] = None
    weight: Annotated[int | None, D("Weight for load balancing.")] = None
    service_account: Annotated[str | None, D("Service account of the workload.")] = None


class WorkloadEntry(Object):
    """A workload that is not a pod, such as a virtual machine."""

    spec: WorkloadEntrySpec = WorkloadEntrySpec()


class ServicePort(Struct):
    """A port of the service."""

    number: Annotated[int, D("Port number.", ge=1, le=65535)]
    protocol: Annotated[str, D("HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; default: detected.")] = ""
    name: Annotated[str, D("Name of the port.")] = ""
    target_port: Annotated[PortNumber | None, D("Port of the endpoints.")] = None


class EntrySelector(Struct):
    """Chooses pods and WorkloadEntries in the same namespace."""

    labels: Annotated[dict[str, str], D("Labels that a workload must all have.")] = {}


class ServiceEntrySpec(Struct):
    """Hosts, ports and endpoints."""

    hosts: Annotated[list[str], D("Names of the service; a leading wildcard is allowed.", min_length=1)]
    addresses: Annotated[list[str], D("Virtual addresses, IP or CIDR.")] = []
    ports: Annotated[list[ServicePort], D("Ports of the service.")] = []
    location: Annotated[Literal["MESH_EXTERNAL", "MESH_INTERNAL"], D("Whether it is part of the mesh.")] = (
        "MESH_EXTERNAL"
    )
    resolution: Annotated[
        Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"], D("How endpoints are found.")
    ] = "NONE"
    endpoints: Annotated[list[WorkloadEntrySpec], D("Endpoints of the service.")] = []
    workload_selector: Annotated[EntrySelector | None, D("Workloads that serve it, instead of endpoints.")] = None
    export_to: Annotated[list[str], D("Namespaces that see it: `*` (default), `.` for its own, or names.")] = []
    subject_alt_names: Annotated[list[str], D("Names that the servers' certificates must carry.")] = []


class ServiceEntry(Object):
    """A service that is added to the mesh's registry."""

    spec: ServiceEntrySpec  # type: ignore[misc]  # keyword-only, which the plugin-less checker cannot know
