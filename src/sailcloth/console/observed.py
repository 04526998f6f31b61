"""Authorization by what was seen: a policy that allows a workload's requests of the last hour, and what a policy would have refused of them.

Requests come from the access-log store; `analysis` decides, as it does for `sailctl x authz`. Must not apply anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sailcloth.analysis import authorization, manifests, observed_requests, offline
from sailcloth.analysis.observed_requests import ObservedRequest
from sailcloth.api.meta import Finding
from sailcloth.mesh.model import MeshConfig

from .inventory import Workload
from .schema_edit import Refused

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
