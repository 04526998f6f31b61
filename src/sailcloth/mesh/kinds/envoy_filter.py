"""EnvoyFilter: users' patches of a proxy's listeners, clusters and routes."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.attachment import PolicyTargetReference, targets
from sailcloth.api.envoy_filter import EnvoyFilter

from .record import MeshKind

PROXY_VERSION = "ISTIO_VERSION"  # the key of node metadata for `match.proxy.proxyVersion`


def _selector(filter_: EnvoyFilter) -> dict[str, str]:
    return filter_.spec.workload_selector.labels if filter_.spec.workload_selector is not None else {}


def _targets(filter_: EnvoyFilter) -> tuple[PolicyTargetReference, ...]:
    return targets((), filter_.spec.target_refs)


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
    targets=_targets,
    traffic=frozenset({"inbound", "outbound", "gateway"}),
    metadata_keys=_metadata_keys,
)
