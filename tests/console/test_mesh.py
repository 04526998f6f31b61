"""The mesh's own page: what the control plane says, of what a user may see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sailcloth.console import mesh
from sailcloth.console.assemble import Scope
from sailcloth.console.inventory import inventory
from sailcloth.console.sources import Sync

from .cluster import LISTS

Object = dict[str, Any]
EVERYWHERE = Scope(frozenset({"shop", "bank", "istio-system"}), frozenset({"shop", "bank", "istio-system"}))
SHOP = Scope(frozenset({"shop"}), frozenset({"shop"}))


def row(name: str, **types: str) -> Object:
    return {"name": name, "version": "1.30.0", "types": types, "errors": {}, "connectedAt": "2026-11-30T08:00:00Z"}


def change(last: float, namespace: str = "shop", error: str = "") -> Object:
    answers = [
        {"proxy": "web-v1-abc-1.shop", "type": "RDS", "ms": ms, "complete": True, "error": error} for ms in (1.0, last)
    ]
    objects = [{"kind": "VirtualService", "namespace": namespace, "name": "cart", "generation": 1}]
    return {"received": 100.0, "objects": objects, "computedMs": 0.5, "answers": answers, "waiting": []}


SYNC = Sync(
    frozenset({"web-v1-abc-1.shop", "ledger-v1-abc-1.bank"}),
    frozenset({"ledger-v1-abc-1.bank"}),
    "1.30.0",
    [row("web-v1-abc-1.shop", CDS="SYNCED"), row("ledger-v1-abc-1.bank", CDS="STALE")],
    [change(4.0), change(8.0, "bank"), change(30.0, error="no")],
    {
        "issuer": {"subject": "O=cluster.local", "notAfter": "2036-11-27T15:41:46Z"},
        "candidate": None,
        "retired": [{"root": "ab" * 32, "trustedUntil": "2026-12-01T00:00:00Z"}],
        "problem": "",
        "ending": ["the root ends in 20 days"],
    },
)
INVENTORY = inventory(LISTS, (), SYNC.stale)


def test_each_part_has_its_state() -> None:
    shown = mesh.mesh(SYNC, INVENTORY, EVERYWHERE, (), "a: b\n")
    states = {(c.kind, c.name): (c.status, c.detail) for c in shown.components}
    assert states["controlPlane", "istiod"] == ("Degraded", "1 of 2 proxies have the latest configuration")
    assert states["gateway", "ingress"][0] == "Healthy"
    assert states["dataPlane", "shop"] == ("Degraded", "1 proxies, without a sidecar: lonely-v1")
    assert states["dataPlane", "bank"][0] == "Degraded"
    assert states["telemetry", "prometheus"][0] == "Healthy"
    assert [c.name[:12] for c in shown.certificates] == ["retired root", "issuer O=clu"]
    assert shown.certificate_problems == ["the root ends in 20 days"]
    assert (shown.push_ms, shown.options) == (8.0, "a: b\n")
    assert [(c.last_ms, c.proxies, c.refused) for c in shown.changes] == [(4.0, 1, 0), (8.0, 1, 0), (30.0, 1, 1)]


def test_a_user_sees_their_own_namespaces() -> None:
    shown = mesh.mesh(SYNC, INVENTORY, SHOP, (), "")
    assert {c.namespace for c in shown.components} == {"istio-system", "shop"}
    assert [p.name for p in shown.proxies] == ["web-v1-abc-1"]
    assert len(shown.changes) == 2
    assert shown.components[0].detail == "1 of 1 proxies have the latest configuration"


def test_sources_that_do_not_answer_say_so() -> None:
    silent = mesh.mesh(replace(Sync(), rows=[]), INVENTORY, EVERYWHERE, ("Prometheus does not answer",), "")
    assert [c.status for c in silent.components if c.kind in ("controlPlane", "telemetry")] == ["Failure", "Failure"]
    assert (silent.push_ms, silent.certificates, silent.changes) == (None, [], [])
