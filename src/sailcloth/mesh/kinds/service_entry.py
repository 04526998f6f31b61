"""ServiceEntry: defines a service for each host; indexed by a label of its selector and by addresses of its endpoints."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.mesh import hosts
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.visibility import exported_to

from .record import Exports, MeshKind, Slice


def by_selector_label(namespace: str, pair: tuple[str, str] | None) -> Slice[ServiceEntry]:
    """Those of a namespace that may select workloads with a label. An empty selector selects nothing."""
    return Slice(("ServiceEntry", "selector", namespace, pair))


def by_address(address: str) -> Slice[ServiceEntry]:
    """ServiceEntries with an endpoint at an address."""
    return Slice(("ServiceEntry", "address", address))


def exported_namespaces(key: Key, entry: ServiceEntry, config: MeshConfig) -> tuple[str, ...]:
    """Namespaces where a ServiceEntry is visible."""
    return exported_to(entry.spec.export_to, key.namespace, config.default_export)


def _slices(key: Key, entry: ServiceEntry, config: MeshConfig) -> Iterator[Slice[ServiceEntry]]:
    selector = entry.spec.workload_selector
    if selector is not None and selector.labels:
        yield by_selector_label(key.namespace, min(selector.labels.items()))
    for endpoint in entry.spec.endpoints:
        if endpoint.address:
            yield by_address(endpoint.address)


def _exports(key: Key, entry: ServiceEntry, config: MeshConfig) -> Exports:
    names = (hosts.resolve(h, key.namespace, config.domain) for h in entry.spec.hosts)
    addresses = (*entry.spec.addresses, *(a.value for a in entry.status.addresses if a.value))
    return Exports(tuple(dict.fromkeys(names)), exported_namespaces(key, entry, config), addresses)


KIND = MeshKind(ServiceEntry, slices=_slices, exports=_exports)
