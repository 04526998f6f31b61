"""The description of a pod or a service. Types only; their fields are the keys of `-o json`."""

from __future__ import annotations

import msgspec

from .routes_to import Exposure, Routes


class Clients(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The TLS that clients in some namespaces use for a port or its subset. `tls`: `mutual TLS`, `plain text`, or `TLS (MODE)`; `by`:
    the object or default that decides it."""

    namespaces: tuple[str, ...]
    tls: str
    by: str
    subset: str = ""


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A service's port. `chosen_by`: where the protocol comes from: appProtocol, name, number, ServiceEntry, or detection."""

    number: int
    name: str
    protocol: str
    chosen_by: str
    target: str
    clients: tuple[Clients, ...] = ()


class Subset(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subset of a DestinationRule. `matches`: whether the pod has its labels; `endpoints`: how many of the service have them."""

    name: str
    labels: dict[str, str]
    endpoints: int
    matches: bool | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The merged DestinationRules of a service for clients of one namespace. `settings`: the fields of its traffic policy."""

    names: tuple[str, ...]
    clients: str
    settings: tuple[str, ...]
    subsets: tuple[Subset, ...]


class ServiceDescription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A service. `endpoints`, `healthy`, `with_sidecar`: numbers of endpoints."""

    name: str
    namespace: str
    host: str
    ports: tuple[ServicePort, ...]
    endpoints: int
    healthy: int
    with_sidecar: int
    rules: tuple[Rule, ...] = ()
    routes: tuple[Routes, ...] = ()
    gateways: tuple[Exposure, ...] = ()


class MutualTls(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The mode of a port of the workload; port 0: of all other ports. `level`: default, mesh, namespace, workload or port; `source`:
    the object that sets it."""

    port: int
    mode: str
    level: str
    source: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An object that selects the workload. `action`: of an AuthorizationPolicy."""

    kind: str
    name: str
    action: str = ""
    dry_run: bool = False


class PodDescription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A pod. `proxy`: sidecar, router, or empty; `identity`: of its certificate."""

    name: str
    namespace: str
    proxy: str
    identity: str
    ready: bool
    services: tuple[ServiceDescription, ...]
    mutual_tls: tuple[MutualTls, ...]
    policies: tuple[Policy, ...]
    sidecar: str = ""
    egress: tuple[str, ...] = ()
    visible_hosts: int = 0
    serves: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class WorkloadDescription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The pods of a service with the same labels and proxy kind."""

    pods: tuple[str, ...]
    mutual_tls: tuple[MutualTls, ...]
    policies: tuple[Policy, ...]


class Description(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A service with its workloads."""

    service: ServiceDescription
    workloads: tuple[WorkloadDescription, ...]
    warnings: tuple[str, ...] = ()
