"""The objects that are analyzed: by kind, and as the mesh resolves hosts, selectors and visibility. Must not find anything.

Objects are kept as users wrote them, because findings are about fields that may be malformed. What the mesh makes of them
(which service a host is, where it is visible, which rules apply) is asked of `sailcloth.mesh`.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sailcloth.analysis import manifests, workloads
from sailcloth.api import gateway_api, kinds
from sailcloth.api.meta import Finding, Key
from sailcloth.lib import bounded_yaml
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import mesh_config, registry, selection
from sailcloth.mesh.model import MeshConfig

from . import unstructured
from .context import Context, Document, Origin
from .unstructured import Object

GATEWAY_API = gateway_api.GROUP
_CLUSTER_SCOPED = frozenset(
    (
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "GatewayClass",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "StorageClass",
        "ValidatingWebhookConfiguration",
        *(k.name for k in kinds.BY_GROUP_KIND.values() if not k.namespaced),
    )
)
_GROUPS = {k.name: k.group for k in reversed(kinds.BY_GROUP_KIND.values())} | {
    **dict.fromkeys(("WasmPlugin", "TrafficExtension"), "extensions.istio.io"),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "apps"),
    **dict.fromkeys(("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"), "admissionregistration.k8s.io"),
    **dict.fromkeys(("GatewayClass", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"), GATEWAY_API),
    "CustomResourceDefinition": "apiextensions.k8s.io",
    "ServiceAccount": "",
}


@dataclass(frozen=True, eq=False)
class Workload:
    """A pod, or the pod template of a workload without pods. `path`: of its spec in the object."""

    document: Document
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: Object
    path: str = "spec"

    @property
    def namespace(self) -> str:
        return self.document.key.namespace

    @property
    def name(self) -> str:
        return f"{self.namespace}/{self.document.key.name}" if self.namespace else self.document.key.name

    @property
    def containers(self) -> list[Object]:
        """Its containers and init containers."""
        return [c for field in ("containers", "initContainers") for _, c in unstructured.objects(self.spec, field)]

    @property
    def has_proxy(self) -> bool:
        return any(c.get("name") == "istio-proxy" for c in self.containers)

    @property
    def is_gateway(self) -> bool:
        """Whether its proxy is a gateway, which takes its ports from Gateways and not from Services."""
        proxies = (c for c in self.containers if c.get("name") == "istio-proxy")
        return self.annotations.get("inject.istio.io/templates") == "gateway" or any(
            "router" in unstructured.texts(c, "args") for c in proxies
        )


def document(body: Object, namespace: str = "default", origin: Origin | None = None) -> Document:
    """An object in JSON form; `namespace` is for objects without one."""
    kind, name = unstructured.text(body, "kind") or "?", unstructured.text(body, "metadata", "name")
    own = "" if kind in _CLUSTER_SCOPED else unstructured.text(body, "metadata", "namespace") or namespace
    group = unstructured.text(body, "apiVersion").rpartition("/")[0]
    return Document(Key(kind, own, name or unstructured.text(body, "metadata", "generateName")), group, body, origin)


class ObjectSet(Context):
    """Objects that are analyzed together. Of two with the same group, kind, namespace and name the later one counts.

    mesh_config, mesh_networks: YAML texts; without them those in the ConfigMap `istio` (or `istio-REVISION`) of `root` count.
    root: the namespace of the mesh's control plane. now: the time for certificates; without it they do not expire.
    unread: kinds that could not be read, so that nothing is said of what refers to them.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        *,
        mesh_config: str = "",
        mesh_networks: str = "",
        root: str = "istio-system",
        revision: str = "",
        now: dt.datetime | None = None,
        unread: frozenset[str] = frozenset(),
    ) -> None:
        self.documents = {(d.group, *d.key): d for d in documents}
        self.root, self.revision, self.now, self.unread = root, revision, now, unread
        self._options, self._networks = mesh_config, mesh_networks

    @functools.cached_property
    def _by_kind(self) -> dict[tuple[str, str], list[Document]]:
        found: dict[tuple[str, str], list[Document]] = {}
        for (group, kind, *_), one in self.documents.items():
            found.setdefault((group, kind), []).append(one)
        return found

    def of(self, kind: str, group: str | None = None) -> list[Document]:
        """The objects of a kind; without a group, of the one that the mesh reads."""
        return self._by_kind.get((_GROUPS.get(kind, "") if group is None else group, kind), [])

    def get(self, kind: str, namespace: str, name: str, group: str | None = None) -> Document | None:
        return self.documents.get((_GROUPS.get(kind, "") if group is None else group, kind, namespace, name))

    # -- the mesh's options ------------------------------------------------------------------------

    @functools.cached_property
    def options(self) -> Object:
        """The MeshConfig as it is written; empty if there is none or it is no object."""
        return self._yaml(self._options, "mesh")

    @functools.cached_property
    def networks(self) -> Object:
        """The MeshNetworks as they are written."""
        return self._yaml(self._networks, "meshNetworks")

    @functools.cached_property
    def config(self) -> MeshConfig:
        try:
            return mesh_config.parse(yaml.safe_dump(self.options), MeshConfig(root_namespace=self.root))
        except ValueError:
            return MeshConfig(root_namespace=self.root)

    def _yaml(self, text: str, entry: str) -> Object:
        config_map = self.get("ConfigMap", self.root, f"istio-{self.revision}" if self.revision else "istio")
        if not text and config_map is not None:
            text = unstructured.text(config_map.body, "data", entry)
        try:
            return unstructured.mapping(bounded_yaml.load(text)) if text else {}
        except yaml.YAMLError:
            return {}

    # -- what the mesh makes of the objects --------------------------------------------------------

    @functools.cached_property
    def graph(self) -> Graph:
        mesh = registry.Mesh(self.config)
        for one in self.documents.values():
            body = {
                **one.body,
                "metadata": {**unstructured.mapping(one.body, "metadata"), "namespace": one.key.namespace},
            }
            parsed = manifests.typed(body, one.key.namespace)
            if parsed is not None and not isinstance(parsed, Finding):
                mesh.apply(*parsed)
        return mesh.graph

    # -- workloads ---------------------------------------------------------------------------------

    @functools.cached_property
    def pods(self) -> list[Workload]:
        """Pods, and the pod templates of workloads that have no pods among the objects."""
        pods = self.live
        running: dict[tuple[str, str], set[str]] = {}
        for pod in pods:
            for pair in pod.labels.items():
                running.setdefault((pod.namespace, "=".join(pair)), set()).add(pod.document.key.name)
        return pods + [t for t in self.templates if not _common(running, t)]

    @functools.cached_property
    def live(self) -> list[Workload]:
        """The Pods."""
        return [Workload(d, d.labels, d.annotations, d.spec) for d in self.of("Pod")]

    @functools.cached_property
    def templates(self) -> list[Workload]:
        """The pod templates of Deployments, StatefulSets, Jobs and so on."""
        found = []
        for kind in workloads.KINDS:
            for one in (d for group in ("apps", "batch", "") for d in self.of(kind, group)):
                path, template = workloads.pod_template(one.body)
                metadata = unstructured.mapping(template, "metadata")
                labels = unstructured.labels(metadata, "labels")
                annotations = unstructured.labels(metadata, "annotations")
                spec = unstructured.mapping(template, "spec")
                found.append(Workload(one, labels, annotations, spec, f"{path}.spec"))
        return found

    def selected(self, selector: Mapping[str, str], namespace: str = "") -> list[Workload]:
        """The pods with all labels of a selector, in a namespace or in all."""
        if not selector:
            return self._pods_in.get(namespace, []) if namespace else self.pods
        candidates = min((self._pods_with.get(pair, []) for pair in selector.items()), key=len)
        return [
            p
            for p in candidates
            if (not namespace or p.namespace == namespace) and selection.matches(selector, p.labels)
        ]

    def pod_labels(self, selector: Mapping[str, str], namespace: str = "") -> Iterable[Mapping[str, str]]:
        distinct = {tuple(sorted(pod.labels.items())) for pod in self.selected(selector, namespace)}
        return map(dict, sorted(distinct))

    def selects(self, selector: Mapping[str, str], namespace: str = "") -> bool:
        return bool(self.selected(selector, namespace))

    def machine_labels(self, namespace: str) -> Iterable[Mapping[str, str]]:
        return self._machine_labels.get(namespace, ())

    @functools.cached_property
    def _machine_labels(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {}
        for kind, path in (("WorkloadEntry", ("labels",)), ("WorkloadGroup", ("metadata", "labels"))):
            for one in self.of(kind):
                found.setdefault(one.key.namespace, []).append(unstructured.labels(one.spec, *path))
        return found

    @functools.cached_property
    def _pods_in(self) -> dict[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for pod in self.pods:
            found.setdefault(pod.namespace, []).append(pod)
        return found

    @functools.cached_property
    def _pods_with(self) -> dict[tuple[str, str], list[Workload]]:
        found: dict[tuple[str, str], list[Workload]] = {}
        for pod in self.pods:
            for pair in pod.labels.items():
                found.setdefault(pair, []).append(pod)
        return found

    def services_of(self, pod: Workload) -> list[Document]:
        """The Services of its namespace that select a pod."""
        found = (s for pair in pod.labels.items() for s in self._services_by_label.get((pod.namespace, pair), ()))
        return [s for s in found if selection.matches(unstructured.labels(s.spec, "selector"), pod.labels)]

    @functools.cached_property
    def _services_by_label(self) -> dict[tuple[str, tuple[str, str]], list[Document]]:
        """By namespace and one label of the selector. Services without a selector select nothing."""
        found: dict[tuple[str, tuple[str, str]], list[Document]] = {}
        for service in self.of("Service"):
            selector = unstructured.labels(service.spec, "selector")
            if selector:
                found.setdefault((service.key.namespace, min(selector.items())), []).append(service)
        return found

    def namespace_labels(self, name: str) -> dict[str, str]:
        """The labels of a namespace; none if it is not among the objects."""
        found = self.get("Namespace", "", name)
        return found.labels if found is not None else {}

    def all(self) -> Iterator[Document]:
        """All objects."""
        return iter(self.documents.values())


def _common(running: Mapping[tuple[str, str], set[str]], template: Workload) -> bool:
    """Whether a pod of the namespace has all labels of a template."""
    sets = [running.get((template.namespace, "=".join(pair)), set()) for pair in template.labels.items()]
    return bool(sets) and bool(set.intersection(*sets))


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as kubectl takes a selector: `a=b,c=d`."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items()))


def selector_of(spec: Any) -> dict[str, str]:
    """The labels of a policy's selector (`selector.matchLabels`)."""
    return unstructured.labels(spec, "selector", "matchLabels")
