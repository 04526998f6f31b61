"""The mesh as graph inputs: applies typed objects and keeps the fine-grained indexes that derived values read.

Every query of a derived value ("rules for this host in this namespace", "services visible to namespace a") is a slice of an
index, so that an unrelated object never invalidates it. `kinds` defines the slices of each kind. Must not know a kind, but for Pods and
those that are converted to others.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar, cast

from sailcloth.api import core
from sailcloth.api.gateway_api import GRPCRoute
from sailcloth.api.meta import Key, Object
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.lib.incremental import Graph, Index

from . import (
    backend_tls,
    gateway_references,
    grpc_routes,
    http_routes,
    http_rules,
    ingress,
    kubernetes_gateways,
    listener_sets,
)
from .kinds import KINDS, Slice
from .kinds.destination_rule import compared_labels
from .kinds.virtual_service import RuleHead
from .legacy import KINDS as LEGACY_KINDS
from .legacy import Legacy
from .model import MeshConfig

T = TypeVar("T", bound=Object)
LabelPairs = tuple[tuple[str, str], ...]
_PEM = b"-----BEGIN "


class ServiceId(NamedTuple):
    """One host of one object that defines services. Sorts by host."""

    host: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)


class _LabelIndex:
    """The label keys that selectors of clients use, with counts; one graph input that rarely changes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._labels_of: dict[Key, set[str]] = {}
        self._count: Counter[str] = Counter()

    def put(self, key: Key, labels: set[str]) -> None:
        old = self._labels_of.pop(key, set())
        if labels:
            self._labels_of[key] = labels
        if old != labels:
            self._count.update(labels)
            self._count.subtract(old)
            self._graph.set("selected-labels", tuple(sorted(k for k, n in self._count.items() if n > 0)))


class _PodLabels:
    """The different labels of pods, by namespace and of all; one more pod with the same labels changes no graph input."""

    def __init__(self, graph: Graph) -> None:
        self._index = Index(graph, "pod-labels")
        self._labels_of: dict[Key, tuple[str, LabelPairs]] = {}
        self._counts: Counter[tuple[str, LabelPairs]] = Counter()

    def put(self, key: Key, labels: Mapping[str, str] | None) -> None:
        """The labels of a pod; None: it no longer exists."""
        old = self._labels_of.pop(key, None)
        new = (key.namespace, tuple(sorted(labels.items()))) if labels is not None else None
        if new is not None:
            self._labels_of[key] = new
        for ident, difference in ((new, 1), (old, -1)) if new != old else ():
            if ident is not None:
                self._counts[ident] += difference
                self._index.put(ident, (ident[0], "") if self._counts[ident] else ())
                if not self._counts[ident]:
                    del self._counts[ident]


class Mesh:
    """All objects of the mesh. Only `apply` changes them. Belongs to the graph's thread."""

    def __init__(self, config: MeshConfig | None = None) -> None:
        self.graph = Graph()
        self._index = Index(self.graph, "index")
        self._host_index = Index(self.graph, "services")
        self._label_index = _LabelIndex(self.graph)
        self._pod_labels = _PodLabels(self.graph)
        self.objects: dict[Key, Object] = {}
        self._service_ids: dict[Key, tuple[ServiceId, ...]] = {}
        self._ingresses: dict[Key, core.Ingress] = {}
        self._from_ingresses: dict[Key, Object] = {}
        self.legacy = Legacy(self.graph, self._apply)
        self.http_routes = http_routes.HttpRoutes(
            self._apply, self._service_ports, self._entry_hosts, lambda: self.config.domain
        )
        self.gateways = kubernetes_gateways.KubernetesGateways(
            self._apply,
            self.objects.get,
            gateway_references.References(self._certificate, self._roots, self.http_routes.rules),
            self.http_routes.rules,
            lambda: self.config.domain,
        )
        self.backend_tls = backend_tls.BackendTlsPolicies(self._apply, self._roots, self._port_names)
        self.configure(config or MeshConfig())

    def configure(self, config: MeshConfig) -> None:
        """Set the mesh-wide options. If they change, recomputes the slices of all objects."""
        self.config = config
        compared = compared_labels([config.locality] if config.locality is not None else [])
        self._label_index.put(Key("MeshConfig", "", ""), compared)
        if self.graph.set("config", config):
            for key, obj in list(self.objects.items()):
                self._index_object(key, obj)
            self._convert_legacy()

    def service_ids(self) -> list[ServiceId]:
        """The hosts of all objects that define services, sorted."""
        return sorted(ident for ids in self._service_ids.values() for ident in ids)

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Add, replace or (None) remove an object. Returns whether anything changed."""
        if key.kind == "Ingress":
            return self._apply_ingress(key, obj)
        if key.kind in ("TLSRoute", "TCPRoute"):
            return self.gateways.apply_route(key, obj) | self.http_routes.apply(key, obj)
        if key.kind == "UDPRoute":
            return self.gateways.apply_route(key, obj)
        if key.kind in ("HTTPRoute", "GRPCRoute", "ReferenceGrant"):
            route = grpc_routes.as_http(obj) if isinstance(obj, GRPCRoute) else obj
            attached = self.gateways.apply_route(key, route) if key.kind != "ReferenceGrant" else False
            changed = self.http_routes.apply(key, route)
            return (
                self.gateways.grants_changed(key.namespace) if key.kind == "ReferenceGrant" else attached
            ) or changed
        if key.kind == listener_sets.KIND:
            return self.gateways.apply_set(key, obj)
        if key.kind in kubernetes_gateways.KINDS:
            self._apply(key, obj)
            return self.gateways.apply(key, obj)
        if key.kind == "BackendTLSPolicy":
            return self.backend_tls.apply(key, obj)
        if key.kind in LEGACY_KINDS:
            self.legacy.apply(key, obj)
            return self._convert_legacy()
        changed = self._apply(key, obj)
        if changed and key.kind == "Service":
            self._convert_legacy()
        if changed and key.kind == "Service" and self._ingresses:
            self._convert_ingresses()  # they may refer to the service's ports by name
        if changed and key.kind == "Service":
            self.http_routes.service_changed(key.namespace, key.name)
            self.gateways.service_changed(key.namespace, key.name)
        if changed and key.kind in ("Service", "ServiceEntry"):
            self.backend_tls.service_changed(key)
        if changed and key.kind == "ServiceEntry":
            self.http_routes.entry_changed(key.namespace, key.name)
        if changed and key.kind in ("Secret", "ConfigMap"):
            self.gateways.secret_changed(key)
            self.backend_tls.roots_changed(key)
        if changed and key.kind == "Namespace":
            self.gateways.namespace_changed(key.name)
        return changed

    def _certificate(self, namespace: str, name: str) -> bool | None:
        """Whether a Secret has a certificate with its key, by what it says; None if there is none."""
        secret = self.objects.get(Key("Secret", namespace, name))
        if not isinstance(secret, core.Secret):
            return None
        try:
            return all(_PEM in base64.b64decode(secret.data.get(k, "")) for k in ("tls.crt", "tls.key"))
        except binascii.Error:
            return False

    def _roots(self, key: Key) -> bool | None:
        """Whether a Secret or ConfigMap has CA certificates, by what it says; None if there is none."""
        obj = self.objects.get(key)
        if isinstance(obj, core.ConfigMap):
            return _PEM in obj.data.get("ca.crt", "").encode()
        if not isinstance(obj, core.Secret):
            return None
        try:
            return _PEM in base64.b64decode(obj.data.get("ca.crt", ""))
        except binascii.Error:
            return False

    def _convert_legacy(self) -> bool:
        """Apply the objects that all legacy objects are converted to."""
        if not self.legacy:
            return False
        services = [(key, obj) for key, obj in self.objects.items() if isinstance(obj, core.Service)]
        return self.legacy.convert(services, self.config)

    def _service_ports(self, service: http_rules.Service, udp: bool = False) -> dict[str, int] | None:
        obj = self.objects.get(Key(service.kind, service.namespace, service.name))
        if isinstance(obj, ServiceEntry):
            return {p.name: p.number for p in obj.spec.ports if (p.protocol.upper() == "UDP") == udp}
        if isinstance(obj, core.Service):
            return {p.name: p.port for p in obj.spec.ports if (p.protocol == "UDP") == udp}
        return None

    def _entry_hosts(self, entry: http_rules.Service) -> tuple[str, ...]:
        obj = self.objects.get(Key(entry.kind, entry.namespace, entry.name))
        return obj.spec.hosts if isinstance(obj, ServiceEntry) else ()

    def _port_names(self, service: Key) -> dict[str, int] | None:
        return self._service_ports(http_rules.Service(service.namespace, service.name, service.kind))

    def _apply_ingress(self, key: Key, obj: Object | None) -> bool:
        if isinstance(obj, core.Ingress) and ingress.is_ours(obj):
            self._ingresses[key] = obj
        elif self._ingresses.pop(key, None) is None:
            return False
        return self._convert_ingresses()

    def _convert_ingresses(self) -> bool:
        """Apply the objects that all Ingresses are converted to."""
        root, domain = self.config.root_namespace, self.config.domain
        convert = ingress.convert(self._ingresses.items(), root, domain, self._port_number)
        outdated = [k for k in self._from_ingresses if k not in convert]
        self._from_ingresses = convert
        return any([self._apply(k, None) for k in outdated] + [self._apply(k, o) for k, o in convert.items()])

    def _port_number(self, namespace: str, service: str, name: str) -> int:
        obj = self.objects.get(Key("Service", namespace, service))
        ports = obj.spec.ports if isinstance(obj, core.Service) else ()
        return next((p.port for p in ports if p.name == name), 0)

    def _apply(self, key: Key, obj: Object | None) -> bool:
        if obj is None:
            if self.objects.pop(key, None) is None:
                return False
            self._index.put(key, ())
            self._label_index.put(key, set())
            self._pod_labels.put(key, None)
            self.graph.unset(("head", key))
            for ident in self._service_ids.pop(key, ()):
                self._host_index.put(ident, ())
            return self.graph.unset(("object", key))
        self.objects[key] = obj
        if not self.graph.set(("object", key), obj):
            return False
        self._index_object(key, obj)
        return True

    def _index_object(self, key: Key, obj: Object) -> None:
        kind = KINDS.get(key.kind)
        if kind is None or not isinstance(obj, kind.type):
            return
        policy = [kind.in_namespace(key.namespace)] if kind.selector is not None else []
        self._index.put(key, [*policy, *kind.slices(key, obj, self.config)])
        self._label_index.put(key, set(kind.caller_labels(obj)))
        if isinstance(obj, core.Pod):
            self._pod_labels.put(key, obj.metadata.labels)
        if kind.head is not None:
            self.graph.set(("head", key), kind.head(key, obj, self.config))
        exports = kind.exports(key, obj, self.config) if kind.exports is not None else None
        ids = tuple(ServiceId(host, *key) for host in exports.hosts) if exports is not None else ()
        for outdated in set(self._service_ids.get(key, ())) - set(ids):
            self._host_index.put(outdated, ())
        for ident in ids:
            visible = [("visible", n) for n in exports.namespaces] if exports is not None else []
            at = [("address", a.lower()) for a in exports.addresses] if exports is not None else []
            self._host_index.put(ident, [("host", ident.host), *visible, *at])
        if ids:
            self._service_ids[key] = ids
        else:
            self._service_ids.pop(key, None)


def config(graph: Graph) -> MeshConfig:
    """The mesh-wide options."""
    return cast(MeshConfig, graph.read("config"))


def selected_labels(graph: Graph) -> tuple[str, ...]:
    """Label keys of clients that some object matches on."""
    return graph.read("selected-labels") or ()


def read(graph: Graph, kind: type[T], key: Key) -> T | None:
    """An object of a kind; None if it does not exist, or if the key is of another kind."""
    obj = graph.read(("object", key))
    return obj if isinstance(obj, kind) else None


def head(graph: Graph, key: Key) -> RuleHead | None:
    """The head of a VirtualService (where it applies, without its routes); None if it does not exist."""
    return cast("RuleHead | None", graph.read(("head", key)))


def select(graph: Graph, slice_: Slice[T]) -> tuple[Key, ...]:
    """Keys of the objects in a slice, sorted."""
    return graph.read(("index", slice_)) or ()


def objects(graph: Graph, slice_: Slice[T]) -> list[tuple[Key, T]]:
    """The objects in a slice, sorted by key. A change of any of them invalidates the reader."""
    return [(key, cast(T, obj)) for key in select(graph, slice_) if (obj := graph.read(("object", key))) is not None]


def pod_labels(graph: Graph, namespace: str = "") -> tuple[LabelPairs, ...]:
    """The different labels of the pods of a namespace, or of all, sorted."""
    idents: tuple[tuple[str, LabelPairs], ...] = graph.read(("pod-labels", namespace)) or ()
    return tuple(dict.fromkeys(labels for _, labels in idents))


def by_selector(
    graph: Graph,
    slice_of: Callable[[str, tuple[str, str] | None], Slice[T]],
    namespace: str,
    labels: Iterable[tuple[str, str]],
) -> list[tuple[Key, T]]:
    """Objects of a namespace that may select a workload with these labels, sorted by key. Finds each by one label of its selector
    (`slice_of`); the caller must check the others."""
    return sorted(
        (item for pair in (*labels, None) for item in objects(graph, slice_of(namespace, pair))), key=lambda i: i[0]
    )


def services_of_host(graph: Graph, host: str) -> tuple[ServiceId, ...]:
    """Definitions of services with exactly this host (a full name or a wildcard), sorted."""
    return graph.read(("services", ("host", host))) or ()


def services_at(graph: Graph, address: str) -> tuple[ServiceId, ...]:
    """Services of objects that have an address, sorted by host. An object with several hosts may have it for one of them only."""
    return graph.read(("services", ("address", address.lower()))) or ()


def services_visible_to(graph: Graph, namespace: str) -> tuple[ServiceId, ...]:
    """Services that are exported to a namespace by name; `*`: those that are exported to all. Sorted by host."""
    return graph.read(("services", ("visible", namespace))) or ()
