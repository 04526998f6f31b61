"""The mesh itself, from what the control plane says of its proxies, changes and certificates. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sailcloth.analysis import health

from . import schema
from . import schema_mesh as answers
from .assemble import Scope
from .inventory import Inventory
from .sources import Sync


def mesh(sync: Sync, inventory: Inventory, scope: Scope, problems: Iterable[str], options: str) -> answers.Mesh:
    """The page's answer, with what a user may see. problems: sources that do not answer, and why. options: the MeshConfig."""
    return answers.Mesh(
        version=sync.version,
        components=[
            _control_plane(sync, scope),
            *_gateways(inventory, scope),
            *_data_plane(sync, inventory, scope),
            _telemetry(problems),
        ],
        proxies=[_proxy(row) for row in sync.rows if _namespace(row["name"]) in scope.readable],
        changes=[_change(row, scope) for row in sync.changes if any(_readable(o, scope) for o in row["objects"])],
        certificates=certificates(sync),
        certificate_problems=[
            str(text) for text in (sync.authority.get("problem"), *sync.authority.get("ending", ())) if text
        ],
        push_ms=push_ms(sync),
        options=options,
    )


def push_ms(sync: Sync) -> float | None:
    """The median time, in milliseconds, in which the last changes reached every proxy; None without changes."""
    times = [last for row in sync.changes if (last := _last(row)) is not None]
    return statistics.median(times) if times else None


def certificates(sync: Sync) -> list[schema.Certificate]:
    """The certificates of the mesh's authority, the next to end first."""
    found = [
        (f"{name} {authority['subject']}", authority["notAfter"])
        for name in ("issuer", "candidate")
        if (authority := sync.authority.get(name))
    ]
    found += [(f"retired root {r['root'][:16]}", r["trustedUntil"]) for r in sync.authority.get("retired", ())]
    out = [schema.Certificate(name=name, ends=datetime.fromisoformat(ends).timestamp()) for name, ends in found]
    return sorted(out, key=lambda certificate: certificate.ends)


def _control_plane(sync: Sync, scope: Scope) -> answers.Component:
    readable = [name for name in sync.proxies if _namespace(name) in scope.readable]
    stale = [name for name in readable if name in sync.stale]
    detail = f"{len(readable) - len(stale)} of {len(readable)} proxies have the latest configuration"
    status = "Failure" if not sync.version else "Degraded" if stale else "Healthy"
    return answers.Component(
        kind="controlPlane",
        name="istiod",
        namespace="istio-system",
        status=status,  # type: ignore[arg-type]
        detail=detail if sync.version else "it does not answer; proxies keep what they have",
    )


def _gateways(inventory: Inventory, scope: Scope) -> list[answers.Component]:
    return [
        answers.Component(
            kind="gateway",
            name=workload.name,
            namespace=workload.namespace,
            status=workload.replicas.status,  # type: ignore[arg-type]
            detail=f"{workload.replicas.available} of {workload.replicas.desired} available",
        )
        for workload in inventory.workloads.values()
        if workload.gateway and workload.namespace in scope.readable
    ]


def _data_plane(sync: Sync, inventory: Inventory, scope: Scope) -> list[answers.Component]:
    """Namespaces with proxies, or that ask for them."""
    counts, stale = Counter(map(_namespace, sync.proxies)), Counter(map(_namespace, sync.stale))
    out = []
    for name in sorted(scope.readable):
        workloads = [w for w in inventory.workloads.values() if w.namespace == name and not w.gateway]
        if not inventory.injected(name) and not any(w.sidecar for w in workloads):
            continue
        missing = [
            w.name for w in workloads if inventory.injected(name) and w.wants_sidecar and w.pods and not w.sidecar
        ]
        status = "Degraded" if stale[name] or missing else health.worst(w.replicas.status for w in workloads)
        detail = f"{counts[name]} proxies" + (f", without a sidecar: {', '.join(missing)}" if missing else "")
        out.append(
            answers.Component(kind="dataPlane", name=name, namespace=name, status=status, detail=detail)  # type: ignore[arg-type]
        )
    return out


def _telemetry(problems: Iterable[str]) -> answers.Component:
    text = "; ".join(problems)
    return answers.Component(
        kind="telemetry",
        name="prometheus",
        namespace="istio-system",
        status="Failure" if text else "Healthy",
        detail=text or "metrics, traces and logs are answered",
    )


def _proxy(row: Mapping[str, Any]) -> answers.Proxy:
    return answers.Proxy(
        name=row["name"].rpartition(".")[0],
        namespace=_namespace(row["name"]),
        version=row["version"],
        connected=row["connectedAt"],
        types=row["types"],
        errors=row["errors"],
    )


def _change(row: Mapping[str, Any], scope: Scope) -> answers.MeshChange:
    return answers.MeshChange(
        received=row["received"],
        objects=[f"{o['kind']} {o['namespace']}/{o['name']}" for o in row["objects"] if _readable(o, scope)],
        computed_ms=row["computedMs"],
        last_ms=_last(row),
        proxies=len({a["proxy"] for a in row["answers"]}),
        refused=len({a["proxy"] for a in row["answers"] if a["error"]}),
        waiting=len(row["waiting"]),
    )


def _last(row: Mapping[str, Any]) -> float | None:
    return max((float(a["ms"]) for a in row["answers"]), default=None)


def _readable(obj: Mapping[str, Any], scope: Scope) -> bool:
    return obj["namespace"] in scope.readable


def _namespace(proxy: str) -> str:
    return proxy.rpartition(".")[2]
