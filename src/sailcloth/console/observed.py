"""Authorization by what was seen: a policy that allows a workload's requests of the last hour, and what a policy would have refused of them.

Requests come from the access-log store; `analysis` decides, as it does for `sailctl x authz`. Must not apply anything.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sailcloth.analysis import authorization, graph_views, manifests, observed_requests, offline
from sailcloth.analysis.observed_requests import ObservedRequest
from sailcloth.api.meta import Finding
from sailcloth.mesh.model import MeshConfig

from .inventory import Workload
from .schema_edit import Refused, Unresolved

Object = Mapping[str, Any]
POLICIES = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
_SELECTED = ("app", "version", "app.kubernetes.io/name")
_MOST = 50  # kinds of refused requests that are listed


def accounts(pods: Iterable[Object], trust_domain: str) -> dict[str, str]:
    """The identity of each pod, by NAMESPACE/NAME."""
    return {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": (
            f"{trust_domain}/ns/{pod['metadata']['namespace']}/sa/{(pod.get('spec') or {}).get('serviceAccountName') or 'default'}"
        )
        for pod in pods
    }


def requests(rows: Iterable[Object], identities: Mapping[str, str]) -> list[ObservedRequest]:
    """The received requests among rows of the store, without those that a policy has refused."""
    found = []
    for row in rows:
        port = str(row.get("upstream_cluster") or "").split("|")
        refused = str(row.get("details") or "").startswith("rbac_access_denied")
        if row.get("direction") != "in" or refused or len(port) < 2 or not port[1].isdigit():
            continue
        source = str(row.get("source") or "")
        principal = identities.get(source, "") if row.get("tls") else ""
        path = str(row.get("path") or "").partition("?")[0]
        found.append(ObservedRequest(principal, source, int(port[1]), str(row.get("method") or ""), path))
    return found


def suggest(name: str, workload: Workload, seen: Sequence[ObservedRequest]) -> tuple[dict[str, Any], list[str]]:
    """(an ALLOW policy for a workload, what to know about it)."""
    labels = {k: v for k, v in workload.labels.items() if k in _SELECTED} or dict(workload.labels)
    return observed_requests.policy(name, workload.namespace, labels, map(observed_requests.generalized, seen))


def refused(
    candidate: Object,
    config: Iterable[Object],
    workload: Workload,
    seen: Sequence[ObservedRequest],
    options: MeshConfig,
) -> list[Refused]:
    """The kinds of requests that policies would refuse with the candidate among them, the most frequent first."""
    metadata = candidate["metadata"]
    same = (candidate["kind"], metadata["namespace"], metadata["name"])
    others = [
        o
        for o in config
        if o["kind"] in POLICIES and (o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) != same
    ]
    typed = [manifests.typed(dict(obj)) for obj in (*others, candidate)]
    mesh = offline.mesh_of([t for t in typed if t is not None and not isinstance(t, Finding)], options)
    target = authorization.Workload(workload.namespace, dict(workload.labels), workload.gateway)
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for request, count in Counter(seen).items():
        call = authorization.Call(
            principal=request.principal,
            method=request.method or "GET",
            path=request.path or "/",
            port=request.port,
            protocol="http" if request.method else "tcp",
        )
        decision = authorization.decide(mesh.graph, target, call)
        if decision.decision == "deny":
            counts[request.address, request.method, request.path, decision.reason] += count
    return [
        Refused(source=source, method=method, path=path, reason=reason, count=count)
        for (source, method, path, reason), count in counts.most_common(_MOST)
    ]


def unresolved(rows: Iterable[Object], readable: frozenset[str]) -> list[Unresolved]:
    """Where workloads of readable namespaces sent requests that no service has, the most frequent first."""
    found: dict[tuple[str, str, str, int], Counter[str]] = {}
    for row in rows:
        cluster, source = str(row.get("upstream_cluster") or ""), str(row.get("source") or "")
        if cluster not in graph_views.OUTSIDE or source.partition("/")[0] not in readable:
            continue
        address, _, port = str(row.get("destination") or "").rpartition(":")
        host, _, named = str(row.get("authority") or "").partition(":")
        number = port if port.isdigit() else named
        key = (
            cluster,
            "" if _is_address(host) else host,
            address or str(row.get("destination") or ""),
            int(number or 0),
        )
        found.setdefault(key, Counter())[source] += 1
    ordered = sorted(found.items(), key=lambda item: -item[1].total())
    return [
        Unresolved(
            cluster=cluster,
            host=host,
            address=address,
            port=port,
            count=sources.total(),
            sources=sorted(sources),
            values=_entry(host, address, port),
        )
        for (cluster, host, address, port), sources in ordered[:_MOST]
    ]


def _entry(host: str, address: str, port: int) -> dict[str, Any]:
    """Values of a ServiceEntry's form (`object_forms`)."""
    protocol = "HTTP" if host else "TCP"
    values = {"hosts": [host or f"outside-{address.replace('.', '-').replace(':', '-')}.example"], "protocol": protocol}
    if not host:
        values |= {"addresses": [address], "resolution": "NONE"}
    return {**values, "port": port or 80, "portName": protocol.lower(), "location": "MESH_EXTERNAL"}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
