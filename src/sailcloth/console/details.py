"""The details of one workload, service, application or namespace, from the inventory, the cluster's objects and descriptions. Pure.

Must not read anything, or judge health (`assemble`) or rules (`analysis.describe`) itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sailcloth.analysis.describe import MeshSnapshot

from . import assemble, described_mesh, schema_details
from .answers import BadQuery, Missing
from .assemble import Scope, Snapshot
from .findings import Found
from .inventory import Inventory, Workload
from .schema import Item
from .schema_details import Details, EndpointRow, EventRow, Kind, MeshObject, PodRow, Related
from .sources import Sync

Object = Mapping[str, Any]
_EVENTS = 50
_SIDECAR = "sidecar.istio.io/status"
_WORDS = {"workload": "workload", "service": "service", "app": "application"}


@dataclass(frozen=True)
class Subject:
    """What a page is about."""

    kind: Kind
    namespace: str
    name: str


def subject(query: Mapping[str, str], readable: frozenset[str]) -> Subject:
    """The subject that the parameters of a request name. Raises BadQuery, and Missing for a namespace that may not be read."""
    kind: Any = query.get("kind", "")
    if kind not in get_args(Kind):
        raise BadQuery("kind: use workload, service or app")
    for name in ("namespace", "name"):
        if not query.get(name):
            raise BadQuery(f"{name}: is missing")
    if query["namespace"] not in readable:
        raise no_namespace(query["namespace"])
    return Subject(kind, query["namespace"], query["name"])


def no_namespace(name: str) -> Missing:
    """The error for a namespace that does not exist, or not for the user: the same, so that neither tells of the other."""
    return Missing(
        f"no namespace {name}, or you may not read it",
        f"See `kubectl auth can-i list pods -n {name}`, or choose another.",
    )


def mentions(hidden: frozenset[str], alone: bool = False) -> Callable[[str], bool]:
    """Whether a text names something of these namespaces, as NAMESPACE/NAME, NAME.NAMESPACE or a host. alone: or a namespace itself."""
    if not hidden:
        return lambda _: False
    names = "|".join(map(re.escape, sorted(hidden)))
    inside = rf"(?<![\w-])(?:{names})/|(?:\.|\bns/)(?:{names})(?![\w-])"
    pattern = re.compile(rf"(?<![\w-])(?:{names})(?![\w-])" if alone else inside)
    return lambda text: pattern.search(text) is not None


def workloads(inventory: Inventory, of: Subject) -> list[Workload]:
    """The workloads of a subject: itself, an application's, or those whose pods a service selects."""
    inside = [w for w in inventory.workloads.values() if w.namespace == of.namespace]
    if of.kind == "workload":
        return [w for w in inside if w.name == of.name]
    if of.kind == "app":
        return [w for w in inside if w.app == of.name]
    service = inventory.services.get((of.namespace, of.name))
    wanted = dict(service.selector) if service is not None else {}
    return [w for w in inside if wanted and wanted.items() <= dict(w.labels).items()]


def item(snapshot: Snapshot, of: Subject) -> Item:
    """The subject's row in its list. Raises Missing."""
    scope = Scope(frozenset({of.namespace}), frozenset(snapshot.inventory.namespaces))
    for row in assemble.items(snapshot, scope, of.kind):
        if row.name == of.name:
            return row
    raise Missing(
        f"no {_WORDS[of.kind]} {of.name} in namespace {of.namespace}",
        "It may have been deleted; the list has those that are there.",
    )


def details(
    snapshot: Snapshot,
    of: Subject,
    lists: Mapping[str, Sequence[Object]],
    sync: Sync,
    mesh: MeshSnapshot,
    readable: frozenset[str],
) -> Details:
    """The details without events. Raises Missing."""
    row, inventory = item(snapshot, of), snapshot.inventory
    members = workloads(inventory, of)
    names = {name for w in members for name in w.pods}
    pods = [
        p
        for p in lists.get("pods", ())
        if p["metadata"]["namespace"] == of.namespace and p["metadata"]["name"] in names
    ]
    about = [
        one for w in members if w.pods and (one := described_mesh.of_pod(mesh, w.namespace, w.pods[0])) is not None
    ]
    service = described_mesh.of_service(mesh, of.namespace, of.name) if of.kind == "service" else None
    services = [service] if service is not None else []
    warnings = service.warnings if service is not None else tuple(text for one in about for text in one.warnings)
    raw = _object(lists, of, members)
    hidden = frozenset(inventory.namespaces) - readable
    hides, warns_of = mentions(hidden), mentions(hidden, alone=True)
    return Details(
        kind=of.kind,
        type=row.kind,
        namespace=of.namespace,
        name=of.name,
        health=row.health,
        labels=row.labels if of.kind != "app" else _shared_labels(members),
        selector=dict(inventory.services[of.namespace, of.name].selector) if of.kind == "service" else {},
        versions=row.versions,
        created=str((raw or {}).get("metadata", {}).get("creationTimestamp") or ""),
        rate=row.rate,
        error_share=row.error_share,
        p95=row.p95,
        pods=sorted((_pod(p, sync) for p in pods), key=lambda p: p.name),
        related=_related(inventory, of, members),
        ports=described_mesh.ports(service, readable) if service is not None else [],
        endpoints=list(_endpoints(lists.get("endpointslices", ()), of)) if of.kind == "service" else [],
        objects=[
            _with_state(one, inventory.config)
            for one in described_mesh.objects(about if of.kind != "service" else (), services)
            if (one.namespace in readable or not one.namespace) and not hides(one.note)
        ],
        mutual_tls=described_mesh.modes(about, hides),
        warnings=[text for text in dict.fromkeys(warnings) if not warns_of(text)],
        notes=list(snapshot.notes),
    )


def _object(lists: Mapping[str, Sequence[Object]], of: Subject, members: Sequence[Workload]) -> Object | None:
    plural = "services" if of.kind == "service" else f"{members[0].kind.lower()}s" if members else ""
    wanted = (of.namespace, of.name) if of.kind != "app" else ("", "")
    return next(
        (o for o in lists.get(plural, ()) if (o["metadata"]["namespace"], o["metadata"]["name"]) == wanted), None
    )


def _shared_labels(members: Sequence[Workload]) -> dict[str, str]:
    if not members:
        return {}
    return {k: v for k, v in members[0].labels.items() if all(w.labels.get(k) == v for w in members)}


def _related(inventory: Inventory, of: Subject, members: Sequence[Workload]) -> list[Related]:
    """The services, workloads and application that belong together with the subject."""
    selected = {
        s.name
        for s in inventory.services.values()
        if s.namespace == of.namespace
        and s.selector
        and any(dict(s.selector).items() <= dict(w.labels).items() for w in members)
    }
    found: list[tuple[Kind, str]] = [
        *(("app", w.app) for w in members),
        *(("workload", w.name) for w in members),
        *(("service", name) for name in sorted(selected)),
    ]
    return [
        Related(kind=kind, namespace=of.namespace, name=name)
        for kind, name in dict.fromkeys(found)
        if (kind, name) != (of.kind, of.name)
    ]


def _pod(pod: Object, sync: Sync) -> PodRow:
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    states = status.get("containerStatuses") or ()
    native = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    states = [*states, *(s for s in status.get("initContainerStatuses") or () if s["name"] in native)]
    ready: Object = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
    proxy = f"{metadata['name']}.{metadata['namespace']}"
    sidecar = _SIDECAR in (metadata.get("annotations") or {})
    return PodRow(
        namespace=metadata["namespace"],
        name=metadata["name"],
        phase="Terminating" if metadata.get("deletionTimestamp") else str(status.get("phase") or "Unknown"),
        ready=ready.get("status") == "True",
        containers=f"{sum(bool(s.get('ready')) for s in states)}/{len(spec.get('containers') or ()) + len(native)}",
        restarts=sum(int(s.get("restartCount") or 0) for s in states),
        node=str(spec.get("nodeName") or ""),
        ip=str(status.get("podIP") or ""),
        sidecar=sidecar,
        synced=proxy not in sync.stale if proxy in sync.proxies else False if sidecar else None,
        reason="" if ready.get("status") == "True" else _reason(ready, states),
        created=str(metadata.get("creationTimestamp") or ""),
    )


def _reason(ready: Object, states: Iterable[Object]) -> str:
    """Why a pod is not ready: what a container waits for, or what the condition says."""
    for state in states:
        for how in ("waiting", "terminated"):
            about = (state.get("state") or {}).get(how) or {}
            if about.get("reason"):
                return f"{state['name']}: {about['reason']} {about.get('message') or ''}".strip()
    return str(ready.get("message") or ready.get("reason") or "")


def _endpoints(slices: Iterable[Object], of: Subject) -> Iterable[EndpointRow]:
    """The endpoints of a service, each once."""
    found: dict[str, EndpointRow] = {}
    for one in slices:
        labels = one["metadata"].get("labels") or {}
        if one["metadata"]["namespace"] != of.namespace or labels.get("kubernetes.io/service-name") != of.name:
            continue
        for endpoint in one.get("endpoints") or ():
            target = endpoint.get("targetRef") or {}
            for address in endpoint.get("addresses") or ():
                found[address] = EndpointRow(
                    address=address,
                    pod=str(target.get("name") or "") if target.get("kind") == "Pod" else "",
                    node=str(endpoint.get("nodeName") or ""),
                    ready=(endpoint.get("conditions") or {}).get("ready") is not False,
                )
    return sorted(found.values(), key=lambda e: e.address)


def _with_state(of: MeshObject, config: Iterable[Object]) -> MeshObject:
    """The object with whether it is accepted."""
    for obj in config:
        metadata = obj["metadata"]
        if (obj["kind"], metadata.get("namespace", ""), metadata["name"]) == (of.kind, of.namespace, of.name):
            conditions = (obj.get("status") or {}).get("conditions") or ()
            refused = any(c.get("type") == "Accepted" and c.get("status") != "True" for c in conditions)
            return MeshObject(kind=of.kind, namespace=of.namespace, name=of.name, note=of.note, accepted=not refused)
    return of


def namespace(
    snapshot: Snapshot,
    name: str,
    readable: frozenset[str],
    events: list[EventRow],
    notes: Sequence[str],
    findings: Found,
) -> schema_details.NamespaceDetails:
    """The details of a namespace. findings: of the analysis, that the user may see. Raises Missing."""
    if name not in readable:
        raise no_namespace(name)
    scope = Scope(frozenset({name}), readable)
    metadata = (snapshot.inventory.namespaces.get(name) or {}).get("metadata") or {}
    (head,) = assemble.namespaces(snapshot, scope)
    return schema_details.NamespaceDetails(
        name=name,
        injected=head.injected,
        control_plane=head.control_plane,
        health=head.health,
        labels=metadata.get("labels") or {},
        created=str(metadata.get("creationTimestamp") or ""),
        apps=assemble.items(snapshot, scope, "app"),
        workloads=assemble.items(snapshot, scope, "workload"),
        services=assemble.items(snapshot, scope, "service"),
        config=assemble.config(snapshot.inventory, scope, findings),
        events=events,
        notes=[*snapshot.notes, *notes],
    )


def events(raw: Iterable[Object], of: Details | None) -> list[EventRow]:
    """The events about a subject, its pods and what owns them, or about everything; the latest first."""
    names = (
        None if of is None else {of.name, *(p.name for p in of.pods), *(r.name for r in of.related if r.kind != "app")}
    )
    owners = () if of is None else tuple(f"{r.name}-" for r in of.related if r.kind == "workload")
    owners += (f"{of.name}-",) if of is not None and of.kind == "workload" else ()
    rows = []
    for one in raw:
        about = one.get("involvedObject") or {}
        name, kind = str(about.get("name") or ""), str(about.get("kind") or "")
        if names is not None and name not in names and not (kind == "ReplicaSet" and name.startswith(owners)):
            continue
        series = one.get("series") or {}
        last = (
            series.get("lastObservedTime")
            or one.get("lastTimestamp")
            or one.get("eventTime")
            or one["metadata"].get("creationTimestamp")
        )
        rows.append(
            EventRow(
                type=str(one.get("type") or "Normal"),
                reason=str(one.get("reason") or ""),
                message=str(one.get("message") or one.get("note") or ""),
                kind=kind,
                name=name,
                count=int(series.get("count") or one.get("count") or 1),
                last=str(last or ""),
            )
        )
    return sorted(rows, key=lambda row: row.last, reverse=True)[:_EVENTS]
