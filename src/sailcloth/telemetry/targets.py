"""Which pods are scraped, and with which labels: the rules of Istio's bundled Prometheus. Pure.

A pod says by annotations that it is (`prometheus.io/scrape`, `port`, `path`, `scheme`); for injected pods the injector has turned them
to the agent's merged page on port 15020. Its labels become labels of its series, which the page's own labels override
(`honor_labels`) but for `job` and `instance`. Control planes (`app=istiod`) are scraped without annotations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

_NOT_RUNNING = frozenset(("Pending", "Succeeded", "Failed"))
_INVALID = re.compile(r"[^a-zA-Z0-9_]")
_CONTROL_PLANE = ("istiod", 15014, "/metrics")  # app and job, port, path
_RESERVED = frozenset(("__name__", "job", "instance", "namespace", "pod", "node"))


class _Port(msgspec.Struct, frozen=True, rename="camel"):
    container_port: int = 0
    protocol: str | None = None


class _Container(msgspec.Struct, frozen=True):
    ports: list[_Port] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str | None = None
    host_network: bool | None = None
    containers: list[_Container] | None = None


class _Status(msgspec.Struct, frozen=True):
    podIP: str | None = None
    phase: str | None = None


class Pod(msgspec.Struct, frozen=True):
    """What the rules read of a pod."""

    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """A page and the labels of its series."""

    url: str
    labels: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """What tells it from others, also after a restart."""
        labels = dict(self.labels)
        return "/".join(labels.get(k, "") for k in ("job", "namespace", "pod", "instance"))


def target(pod: Pod) -> ScrapeTarget | None:
    """The page of a pod; None if it has none, or is not running."""
    annotations, labels = pod.metadata.annotations or {}, pod.metadata.labels or {}
    if not pod.status.podIP or pod.status.phase in _NOT_RUNNING:
        return None
    job, port, path = _CONTROL_PLANE
    if labels.get("app") == job:
        scheme = "http"
    elif annotations.get("prometheus.io/scrape") == "true":
        job, path = "kubernetes-pods", annotations.get("prometheus.io/path") or "/metrics"
        scheme = annotations.get("prometheus.io/scheme") or "http"
        port = _port(pod, annotations.get("prometheus.io/port"))
    else:
        return None
    if not port or scheme not in ("http", "https"):
        return None
    host = f"[{pod.status.podIP}]" if ":" in pod.status.podIP else pod.status.podIP
    own = {"job": job, "instance": f"{host}:{port}", "namespace": pod.metadata.namespace, "pod": pod.metadata.name}
    if pod.spec.node_name:
        own["node"] = pod.spec.node_name
    mapped = {label_name(name): value for name, value in labels.items()}
    kept = {name: value for name, value in mapped.items() if name not in _RESERVED and value}
    path = path if path.startswith("/") else f"/{path}"
    return ScrapeTarget(f"{scheme}://{host}:{port}{path}", tuple(sorted({**kept, **own}.items())))


def labelled(own: dict[str, str], page: dict[str, str]) -> dict[str, str]:
    """The labels of a series: the page's override the target's, but for `job` and `instance`, so that no page has series of another."""
    exported = {f"exported_{name}": page[name] for name in ("job", "instance") if name in page}
    return {**own, **page, **exported, "job": own["job"], "instance": own["instance"]}


def label_name(text: str) -> str:
    """A Kubernetes label as a label of metrics: `app.kubernetes.io/name` is `app_kubernetes_io_name`."""
    name = _INVALID.sub("_", text)
    return f"_{name}" if name[:1].isdigit() else name


def _port(pod: Pod, annotation: str | None) -> int:
    """The annotated port, or else the first that a container declares; 0 for none."""
    if annotation:
        return int(annotation) if annotation.isdecimal() and 0 < int(annotation) < 1 << 16 else 0
    ports = (p for c in pod.spec.containers or () for p in c.ports or () if p.protocol in (None, "TCP"))
    return next((p.container_port for p in ports), 0)
