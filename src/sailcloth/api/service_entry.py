"""ServiceEntry and WorkloadEntry (networking.istio.io): services and workloads outside Kubernetes."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import Constraint, ConstraintPort, D, Object, PortNumber, Struct


class WorkloadEntrySpec(Struct):
    """One workload that is not a pod."""

    address: Annotated[str | None, D("IP address, DNS name, or unix:///path."), Constraint(maxLength=256)] = None
    ports: Annotated[
        dict[str, Annotated[int, ConstraintPort]],
        D("Port numbers by name of the service's port."),
        Constraint(
            (
                "self.all(key, key.size() < 63 && key.matches('^[a-zA-Z0-9](?:[-.a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
                "port name must be valid",
            ),
            maxProperties=128,
        ),
    ] = {}
    labels: Annotated[dict[str, str], D("Labels of the workload."), Constraint(maxProperties=256)] = {}
    network: Annotated[str | None, D("Network in which the address is valid."), Constraint(maxLength=2048)] = None
    locality: Annotated[str | None, D("Locality, as region/zone/subzone."), Constraint(maxLength=2048)] = None
    weight: Annotated[int | None, D("Weight for load balancing."), Constraint(minimum=0)] = None
    service_account: Annotated[str | None, D("Service account of the workload."), Constraint(maxLength=253)] = None


_UNIX = "(has(self.address) ? self.address : '').startsWith('unix://')"
_PATH = "self.address.substring(7)"
ConstraintEndpoint = Constraint(
    (
        f"{_UNIX} ? ({_PATH}.startsWith('/') || {_PATH}.startsWith('@')) : true",
        "UDS must be an absolute path or abstract socket",
    ),
    (f"{_UNIX} ? !self.address.endsWith('/') : true", "UDS may not be a dir"),
    (f"{_UNIX} ? !has(self.ports) : true", "UDS may not include ports"),
)
ConstraintAddress = Constraint(("has(self.address) || has(self.network)", "Address is required"))


class WorkloadCondition(Struct):
    """A condition of a workload, as far as the mesh reads it."""

    type: Annotated[str, D("Type of the condition, such as Healthy.")] = ""
    status: Annotated[str, D("True, False or Unknown.")] = ""


class WorkloadStatus(Struct):
    """The part of the status that the mesh reads."""

    conditions: Annotated[tuple[WorkloadCondition, ...], D("Conditions of the workload.")] = ()

    def condition_status(self, condition: str) -> bool | None:
        """Whether a condition is True; None if the status does not have it."""
        return next((c.status == "True" for c in self.conditions if c.type == condition), None)


class WorkloadEntry(Object):
    """A workload that is not a pod, such as a virtual machine."""

    spec: Annotated[WorkloadEntrySpec, ConstraintEndpoint, Constraint(required=True)] = WorkloadEntrySpec()
    status: WorkloadStatus = WorkloadStatus()


class ServicePort(Struct):
    """A port of the service."""

    number: Annotated[int, D("Port number.", ge=1, le=65535), ConstraintPort]
    protocol: Annotated[
        str, D("HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; default: detected."), Constraint(maxLength=256)
    ] = ""
    name: Annotated[str, D("Name of the port."), Constraint(required=True, maxLength=256)] = ""
    target_port: Annotated[PortNumber | None, D("Port of the endpoints."), ConstraintPort] = None


class EntrySelector(Struct):
    """Selects pods and WorkloadEntries in the same namespace."""

    labels: Annotated[
        dict[
            str,
            Annotated[str, Constraint(("!self.contains('*')", "wildcard is not supported in selector"), maxLength=63)],
        ],
        D("Labels; a workload must have all of them."),
        Constraint(("self.all(key, !key.contains('*'))", "wildcard is not supported in selector"), maxProperties=256),
    ] = {}


class ServiceEntrySpec(Struct):
    """Hosts, ports and endpoints."""

    hosts: Annotated[
        tuple[Annotated[str, Constraint(("self != '*'", "hostname cannot be wildcard"))], ...],
        D("Names of the service; a leading wildcard is allowed.", min_length=1),
        Constraint(maxItems=256),
    ]
    addresses: Annotated[
        tuple[Annotated[str, Constraint(maxLength=64)], ...],
        D("Virtual addresses, IP or CIDR."),
        Constraint(maxItems=256),
    ] = ()
    ports: Annotated[
        tuple[ServicePort, ...],
        D("Ports of the service."),
        Constraint(
            ("self.all(one, self.exists_one(other, one.number == other.number))", "port number cannot be duplicated"),
            **{"maxItems": 256, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    location: Annotated[Literal["MESH_EXTERNAL", "MESH_INTERNAL"], D("Whether it is part of the mesh.")] = (
        "MESH_EXTERNAL"
    )
    resolution: Annotated[
        Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"], D("How endpoints are resolved.")
    ] = "NONE"
    endpoints: Annotated[
        tuple[Annotated[WorkloadEntrySpec, ConstraintAddress, ConstraintEndpoint], ...],
        D("Endpoints of the service."),
        Constraint(maxItems=4096),
    ] = ()
    workload_selector: Annotated[
        EntrySelector | None, D("Workloads that are its endpoints, instead of `endpoints`.")
    ] = None
    export_to: Annotated[tuple[str, ...], D("Namespaces that see it: `*` (default), `.` for its own, or names.")] = ()
    subject_alt_names: Annotated[tuple[str, ...], D("Names of which the servers' certificates must have one.")] = ()


_RESOLUTION = "(has(self.resolution) ? self.resolution : 'NONE')"
ConstraintService = Constraint(
    (
        "!has(self.workloadSelector) || !has(self.endpoints) || self.endpoints.size() == 0",
        "only one of WorkloadSelector or Endpoints can be set",
    ),
    (
        f"!({_RESOLUTION} == 'NONE' && has(self.endpoints))",
        "NONE mode cannot set endpoints",
    ),
    (
        f"{_RESOLUTION} == 'DNS_ROUND_ROBIN' && has(self.endpoints) ? self.endpoints.size() <= 1 : true",
        "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
    ),
    (
        f"!(has(self.addresses) && self.addresses.exists(k, k.contains('/')) && !({_RESOLUTION} in ['STATIC', 'NONE']))",
        "CIDR addresses are allowed only for NONE/STATIC resolution types",
    ),
)


class AllocatedAddress(Struct):
    """An address that the control plane has allocated to a host of a ServiceEntry."""

    value: Annotated[str, D("The address.")] = ""
    host: Annotated[str, D("The host with this address.")] = ""


class ServiceEntryStatus(Struct):
    """The part of the status that the mesh reads; changes of other parts compare equal."""

    addresses: Annotated[tuple[AllocatedAddress, ...], D("Addresses allocated to hosts that declare none.")] = ()


class ServiceEntry(Object):
    """A service that is added to the mesh's registry."""

    spec: Annotated[ServiceEntrySpec, ConstraintService]  # type: ignore[misc]  # keyword-only, which the plugin-less checker cannot know
    status: ServiceEntryStatus = ServiceEntryStatus()
