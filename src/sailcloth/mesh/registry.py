"""The mesh as graph inputs: applies typed objects and keeps the fine-grained indexes that derived values read.

Every question that a derived value asks ("rules for this host in this namespace", "services that namespace a may see")
is a slice of an index, so an object that does not concern the question never wakes the asker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, cast

from sailcloth.api import core
from sailcloth.api.destination_rule import DestinationRule, LocalityLbSetting
from sailcloth.api.envoy_filter import EnvoyFilter
from sailcloth.api.gateway import Gateway
from sailcloth.api.meta import Key, Object
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.api.rate_limit import RateLimit
from sailcloth.api.service_entry import ServiceEntry, WorkloadEntry
from sailcloth.api.sidecar import Sidecar
from sailcloth.api.virtual_service import VirtualService
from sailcloth.api.workload_group import ProxyConfig
from sailcloth.lib.incremental import Graph, Index

from . import hosts, http_routes, ingress
from .model import MeshConfig, RuleHead


class ServiceId(NamedTuple):
    """One host of one registry object; sorts by host."""

    host: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)


class _LabelIndex:
    """The label keys that any selector of callers uses, counted; one graph input that rarely changes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._of: dict[Key, set[str]] = {}
        self._count: Counter[str] = Counter()

    def put(self, key: Key, labels: set[str]) -> None:
        old = self._of.pop(key, set())
        if labels:
            self._of[key] = labels
        if old != labels:
            self._count.update(labels)
            self._count.subtract(old)
            self._graph.set("selected-labels", tuple(sorted(k for k, n in self._count.items() if n > 0)))


class Mesh:
    """All objects of the mesh. `apply` is the only way in; it belongs to the graph's thread."""

    def __init__(self, config: MeshConfig | None = None) -> None:
        self.graph = Graph()
        self._index = Index(self.graph, "index")
        self._host_index = Index(self.graph, "services")
        self._label_index = _LabelIndex(self.graph)
        self.objects: dict[Key, Object] = {}
        self._service_ids: dict[Key, tuple[ServiceId, ...]] = {}
        self._ingresses: dict[Key, core.Ingress] = {}
        self._from_ingresses: dict[Key, Object] = {}
        self.http_routes = http_routes.HttpRoutes(self._apply, self._has_service, lambda: self.config.domain)
        self.configure(config or MeshConfig())

    def configure(self, config: MeshConfig) -> None:
        """Set the mesh-wide options; every object's slices are computed anew if they change."""
        self.config = config
        own = _compared_labels([config.locality] if config.locality is not None else [])
        self._label_index.put(Key("MeshConfig", "", ""), own)
        if self.graph.set("config", config):
            for key, obj in list(self.objects.items()):
                self._place(key, obj)

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Add, replace or (None) remove an object. Returns whether anything changed."""
        if key.kind == "Ingress":
            return self._apply_ingress(key, obj)
        if key.kind in ("HTTPRoute", "ReferenceGrant"):
            return self.http_routes.apply(key, obj)
        changed = self._apply(key, obj)
        if changed and key.kind == "Service" and self._ingresses:
            self._convert_ingresses()  # they may name its ports
        if changed and key.kind == "Service":
            self.http_routes.service_changed(key.namespace, key.name)
        return changed

    def _has_service(self, service: http_routes.Service) -> bool:
        return Key("Service", service.namespace, service.name) in self.objects

    def _apply_ingress(self, key: Key, obj: Object | None) -> bool:
        if isinstance(obj, core.Ingress) and ingress.is_ours(obj):
            self._ingresses[key] = obj
        elif self._ingresses.pop(key, None) is None:
            return False
        return self._convert_ingresses()

    def _convert_ingresses(self) -> bool:
        """Put into the mesh what all Ingresses together amount to."""
        root, domain = self.config.root_namespace, self.config.domain
        made = ingress.converted(self._ingresses.items(), root, domain, self._port_number)
        gone = [k for k in self._from_ingresses if k not in made]
        self._from_ingresses = made
        return any([self._apply(k, None) for k in gone] + [self._apply(k, o) for k, o in made.items()])

    def _port_number(self, namespace: str, service: str, name: str) -> int:
        obj = self.objects.get(Key("Service", namespace, service))
        found = obj.spec.ports if isinstance(obj, core.Service) else []
        return next((p.port for p in found if p.name == name), 0)

    def _apply(self, key: Key, obj: Object | None) -> bool:
        if obj is None:
            if self.objects.pop(key, None) is None:
                return False
            self._index.put(key, ())
            self._label_index.put(key, set())
            self.graph.unset(("head", key))
            for ident in self._service_ids.pop(key, ()):
                self._host_index.put(ident, ())
            return self.graph.unset(("object", key))
        self.objects[key] = obj
        if not self.graph.set(("object", key), obj):
            return False
        self._place(key, obj)
        return True

    def _place(self, key: Key, obj: Object) -> None:
        self._index.put(key, _slices(key, obj, self.config))
        self._label_index.put(key, _selected_labels(obj))
        if isinstance(obj, VirtualService):
            self.graph.set(("head", key), _head(key, obj, self.config))
        ids, slices = _service_slices(key, obj, self.config)
        for gone in set(self._service_ids.get(key, ())) - set(ids):
            self._host_index.put(gone, ())
        for ident in ids:
            self._host_index.put(ident, slices(ident))
        if ids:
            self._service_ids[key] = ids
        else:
            self._service_ids.pop(key, None)


def config(graph: Graph) -> MeshConfig:
    """The mesh-wide options."""
    return cast(MeshConfig, graph.read("config"))


def selected_labels(graph: Graph) -> tuple[str, ...]:
    """Label keys by which some object tells calling workloads apart."""
    return graph.read("selected-labels") or ()


def read(graph: Graph, key: Key) -> Any:
    """An object, or None."""
    return graph.read(("object", key))


def head(graph: Graph, key: Key) -> RuleHead | None:
    """What decides where a VirtualService holds, without its routes; None if there is no such object."""
    return cast("RuleHead | None", graph.read(("head", key)))


def select(graph: Graph, slice_: Hashable) -> tuple[Key, ...]:
    """Keys of the objects in a slice, sorted."""
    return graph.read(("index", slice_)) or ()


def selecting(graph: Graph, what: str, namespace: str, labels: Iterable[tuple[str, str]]) -> list[Key]:
    """Objects of a namespace that may select a workload with these labels: `service-selecting` or `entry-selecting`. Each is
    found by one label of its selector; whether the others match is for the caller to see."""
    pairs = [*labels, None]
    return sorted(key for pair in pairs for key in select(graph, (what, namespace, pair)))


def services(graph: Graph, slice_: Hashable) -> tuple[ServiceId, ...]:
    """Service ids in a slice: ("host", h), or ("visible", namespace or "*")."""
    return graph.read(("services", slice_)) or ()


def exported_to(export: Iterable[str], namespace: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Namespaces (or `*`) that see an object, with `.` resolved and `~` giving nothing."""
    export = tuple(export) or default
    if "*" in export:
        return ("*",)
    return tuple(sorted({namespace if e == "." else e for e in export if e != "~"}))


def _head(key: Key, rule: VirtualService, cfg: MeshConfig) -> RuleHead:
    return RuleHead(
        hosts=tuple(hosts.resolve(h, key.namespace, cfg.domain) for h in rule.spec.hosts),
        seen=exported_to(rule.spec.export_to, key.namespace, cfg.rule_export),
        created=rule.metadata.creation_timestamp or "",
        http=bool(rule.spec.http),
        attached=http_routes.PARENTS in rule.metadata.annotations,
    )


def _selected_labels(obj: Object) -> set[str]:
    """Label keys by which an object tells calling workloads apart; they become part of a proxy's view."""
    if isinstance(obj, VirtualService):
        http = (m.source_labels for r in obj.spec.http for m in r.match)
        tls = (m.source_labels for r in obj.spec.tls for m in r.match)
        tcp = (m.source_labels for r in obj.spec.tcp for m in r.match)
        return {k for group in (http, tls, tcp) for labels in group for k in labels}
    if isinstance(obj, DestinationRule):
        selector = obj.spec.workload_selector
        return (set(selector.match_labels) if selector is not None else set()) | _failover_labels(obj)
    if isinstance(obj, Sidecar) and obj.spec.workload_selector is not None:
        return set(obj.spec.workload_selector.labels)
    return set()


def _failover_labels(rule: DestinationRule) -> set[str]:
    policies = [rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets)]
    balancers = [p.load_balancer for p in policies if p is not None]
    settings = [b.locality_lb_setting for b in balancers if b is not None]
    return _compared_labels([s for s in settings if s is not None])


def _compared_labels(settings: list[LocalityLbSetting]) -> set[str]:
    """Label keys of callers that `failoverPriority` compares with those of endpoints."""
    return {text.partition("=")[0] for s in settings for text in s.failover_priority if "=" not in text}


def _slices(key: Key, obj: Object, cfg: MeshConfig) -> list[Hashable]:
    ns = key.namespace
    kind: list[Hashable] = [("kind", key.kind)]
    if isinstance(obj, VirtualService):
        for gateway in obj.spec.gateways or ["mesh"]:
            name = gateway if "/" in gateway or gateway == "mesh" else f"{ns}/{gateway}"
            for host in obj.spec.hosts:
                full = hosts.resolve(host, ns, cfg.domain)
                if name == "mesh":
                    kind.append(("vs-host", full))
                    kind.append(("vs-mesh",))
                else:
                    kind.append(("vs-gateway", name))
        kind += [("vs-gateway-any",)] if any(g != "mesh" for g in obj.spec.gateways) else []
    elif isinstance(obj, DestinationRule):
        kind.append(("dr", ns, hosts.resolve(obj.spec.host, ns, cfg.domain)))
        kind.append(("dr-host", hosts.resolve(obj.spec.host, ns, cfg.domain)))
        if obj.spec.workload_selector is not None:
            kind.append(("dr-selecting", ns))
    elif isinstance(obj, core.EndpointSlice):
        service = obj.metadata.labels.get("kubernetes.io/service-name", "")
        if service:
            kind.append(("slices", ns, service))
    elif isinstance(obj, core.Pod):
        if obj.status.pod_ip and obj.status.phase not in ("Succeeded", "Failed") and not obj.spec.host_network:
            kind.append(("pod-ip", obj.status.pod_ip))
        kind.append(("pods", ns))
    elif isinstance(obj, RateLimit):
        kind.append(("rate-limits", ns))
    elif isinstance(obj, EnvoyFilter):
        kind.append(("envoy-filters", ns))
    elif isinstance(obj, ProxyConfig):
        kind.append(("proxy-configs", ns))
    elif isinstance(obj, core.Secret):
        kind.append(("secrets", ns))
    elif isinstance(obj, WorkloadEntry):
        labels = entry_labels(obj)
        kind += [("workload-entries", ns), *(("workload-entries", ns, pair) for pair in labels.items())]
    elif isinstance(obj, Sidecar):
        kind.append(("sidecars", ns))
    elif isinstance(obj, PeerAuthentication):
        kind.append(("peer-authentications", ns))
    elif isinstance(obj, Gateway):
        kind.append(("gateways", ns))
    elif isinstance(obj, core.Service):
        if obj.spec.selector:
            kind.append(("service-selecting", ns, min(obj.spec.selector.items())))
    elif isinstance(obj, ServiceEntry):
        if obj.spec.workload_selector is not None:
            kind.append(("entry-selecting", ns, min(obj.spec.workload_selector.labels.items(), default=None)))
        kind += [("entry-address", e.address) for e in obj.spec.endpoints if e.address]
    return kind


def entry_labels(entry: WorkloadEntry) -> dict[str, str]:
    """Labels that a WorkloadEntry is selected by: its workload's, and those of the object itself, as in Istio."""
    return {**entry.metadata.labels, **entry.spec.labels}


def workload_entries(graph: Graph, namespace: str, wanted: dict[str, str]) -> list[tuple[Key, WorkloadEntry]]:
    """WorkloadEntries of a namespace that have all wanted labels, sorted. Only those are read that have one of them."""
    pair = min(wanted.items(), default=None)
    slice_ = ("workload-entries", namespace, pair) if pair else ("workload-entries", namespace)
    found = ((k, read(graph, k)) for k in select(graph, slice_))
    return [(k, e) for k, e in found if e is not None and wanted.items() <= entry_labels(e).items()]


def _service_slices(key: Key, obj: Object, cfg: MeshConfig) -> tuple[tuple[ServiceId, ...], Any]:
    if isinstance(obj, core.Service):
        names = [f"{key.name}.{key.namespace}.svc.{cfg.domain}"]
        annotation = obj.metadata.annotations.get("networking.istio.io/exportTo", "")
        export: list[str] = [e.strip() for e in annotation.split(",") if e.strip()]
    elif isinstance(obj, ServiceEntry):
        names = [hosts.resolve(h, key.namespace, cfg.domain) for h in obj.spec.hosts]
        export = obj.spec.export_to
    else:
        return (), None
    seen = exported_to(export, key.namespace, cfg.default_export)
    ids = tuple(ServiceId(h, *key) for h in dict.fromkeys(names))
    return ids, lambda i: [("host", i.host), *(("visible", n) for n in seen)]
