"""On-demand clusters: which clusters a sidecar gets without subscribing to them.

Envoy subscribes to the cluster of a request or connection. It never subscribes to mirror clusters or to clusters that
EnvoyFilters name, so these are sent in advance; so are hosts that a Sidecar names without a wildcard. Must not know past
subscriptions of a workload; `controlplane.connected_proxies` remembers them.
"""

from __future__ import annotations

import json
import re

import msgspec

from sailcloth.api.envoy_filter import EnvoyFilter
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import envoy_filters, hosts, registry, virtual_services
from sailcloth.mesh.envoy_filters import PatchRef

from . import clusters, scope
from .proxy import View
from .routes import ClusterId

_CLUSTER = re.compile(r"outbound\|(\d+)\|([^|\"\s]*)\|([\w.*-]+)")


@derived
def preloaded(graph: Graph, view: View) -> frozenset[ClusterId]:
    """Outbound clusters that a view gets without subscribing."""
    cluster_ids = {
        c
        for host, subset in _mirrors(graph, view)
        for c in graph.get(clusters.of_host, view, host)
        if c.subset == subset
    }
    cluster_ids |= {c for host in _declared(graph, view) for c in graph.get(clusters.of_host, view, host)}
    patches = graph.get(envoy_filters.patches, view.policies.of(EnvoyFilter), view.policies.metadata)
    named = {c for ref in patches for c in graph.get(_named, ref)}
    return frozenset(cluster_ids | {c for c in named if c in graph.get(clusters.of_host, view, c.host)})


def _mirrors(graph: Graph, view: View) -> set[tuple[str, str]]:
    rules: set[Key] = {key for _, key in graph.get(virtual_services.mesh_hosts, view.namespace)}
    visible = set(graph.get(scope.visible, view)) if rules else set()
    pairs = {pair for key in rules for pair in graph.get(virtual_services.mirror_hosts, key)}
    return {(host, subset) for host, subset in pairs if host in visible}


def _declared(graph: Graph, view: View) -> list[str]:
    """Hosts that the view's Sidecar names without a wildcard."""
    limit = graph.get(scope.spec, view)
    names = {
        hosts.normalized(h.rpartition("/")[2])
        for e in (limit.spec.egress if limit else ())
        for h in e.hosts
        if "*" not in h
    }
    return [h for h in graph.get(scope.visible, view) if h in names] if names else []


@derived
def _named(graph: Graph, ref: PatchRef) -> tuple[ClusterId, ...]:
    """Clusters that the value of one EnvoyFilter patch names."""
    key, index = ref
    obj = registry.read(graph, EnvoyFilter, key)
    if obj is None or index >= len(obj.spec.config_patches):
        return ()
    text = json.dumps(msgspec.to_builtins(obj.spec.config_patches[index].patch))
    return tuple(ClusterId(host, int(port), subset) for port, subset, host in _CLUSTER.findall(text))
