"""Kubernetes Service: defines one service; indexed by a label of its selector."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.core import Service
from sailcloth.api.meta import Key
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.visibility import exported_to

from .record import Exports, MeshKind, Slice

EXPORT_TO = "networking.istio.io/exportTo"


def by_selector_label(namespace: str, pair: tuple[str, str] | None) -> Slice[Service]:
    """Services of a namespace that may select workloads with a label. Each is in the slice of one label of its selector."""
    return Slice(("Service", "selector", namespace, pair))


def exported_namespaces(key: Key, service: Service, config: MeshConfig) -> tuple[str, ...]:
    """Namespaces where a Service is visible, by its annotation."""
    annotation = service.metadata.annotations.get(EXPORT_TO, "")
    return exported_to((e.strip() for e in annotation.split(",") if e.strip()), key.namespace, config.default_export)


def _slices(key: Key, service: Service, config: MeshConfig) -> Iterator[Slice[Service]]:
    if service.spec.selector:
        yield by_selector_label(key.namespace, min(service.spec.selector.items()))


def _exports(key: Key, service: Service, config: MeshConfig) -> Exports:
    host = f"{key.name}.{key.namespace}.svc.{config.domain}"
    addresses = service.spec.cluster_ips or (service.spec.cluster_ip,)
    return Exports(
        (host,), exported_namespaces(key, service, config), tuple(a for a in addresses if a not in ("", "None"))
    )


KIND = MeshKind(Service, slices=_slices, exports=_exports)
