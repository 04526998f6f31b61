"""ProxyConfig: startup options of a workload's proxy. Only injection reads it; running proxies do not depend on it."""

from __future__ import annotations

from sailcloth.api.workload_group import ProxyConfig

from .record import MeshKind


def _selector(options: ProxyConfig) -> dict[str, str]:
    return options.spec.selector.match_labels if options.spec.selector is not None else {}


KIND = MeshKind(ProxyConfig, selector=_selector)
