"""EnvoyFilter: users' patches of a proxy's listeners, clusters and routes."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.envoy_filter import EnvoyFilter

from .record import MeshKind

PROXY_VERSION = "ISTIO_VERSION"  # the key of node metadata for `match.proxy.proxyVersion`


def _selector(filter_: EnvoyFilter) -> dict[str, str] | None:
    if filter_.spec.target_refs:
        return None
    return filter_.spec.workload_selector.labels if filter_.spec.workload_selector is not None else {}


def _metadata_keys(filter_: EnvoyFilter) -> Iterator[str]:
    for patch in filter_.spec.config_patches:
        match = patch.match.proxy if patch.match is not None else None
        if match is not None:
            yield from match.metadata
            if match.proxy_version:
                yield PROXY_VERSION


KIND = MeshKind(
    EnvoyFilter,
    selector=_selector,
    traffic=frozenset({"inbound", "outbound", "gateway"}),
    metadata_keys=_metadata_keys,
)
