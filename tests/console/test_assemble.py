"""The answers of the console's API: graph, deltas, lists and overview, for users who may read all namespaces or some."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from sailcloth.analysis.traffic_graph import Graph
from sailcloth.console import assemble, schema
from sailcloth.console.assemble import Scope

from .cluster import ALL, EVERYTHING, inventory_of, snapshot


def graph(
    scope: Scope = EVERYTHING, kind: schema.GraphType = "workload", services: bool = False, idle: bool = False
) -> schema.Graph:
    return assemble.graph(snapshot(), scope, kind, services, idle, 1)


def edges(of: schema.Graph) -> set[tuple[str, str]]:
    return {(e.source, e.target) for e in of.edges}


@pytest.mark.parametrize(
    ("kind", "services", "expected"),
    [
        ("workload", False, ("workload:shop/web-v1", "workload:shop/cart-v1")),
        ("app", False, ("app:shop/web", "app:shop/cart")),
        ("versionedApp", False, ("app:shop/web@v1", "app:shop/cart@v1")),
        ("workload", True, ("workload:shop/web-v1", "service:shop/cart")),
        ("workload", True, ("service:shop/cart", "workload:shop/cart-v1")),
        ("service", False, ("service:shop/web", "service:shop/cart")),
    ],
)
def test_the_types_of_the_graph(kind: schema.GraphType, services: bool, expected: tuple[str, str]) -> None:
    assert expected in edges(graph(kind=kind, services=services))


def test_edges_without_traffic_are_known_from_before() -> None:
    before = snapshot()
    now = replace(before, traffic=Graph(before.traffic.edges[:1]), known=before.traffic)
    shown = assemble.graph(now, EVERYTHING, "workload", False, True, 1)
    silent = {e.target for e in shown.edges if not e.traffic.rate}
    assert len(silent) == len(edges(graph())) - 1
    assert all(n.idle for n in shown.nodes if n.id in silent - {e.target for e in shown.edges if e.traffic.rate})
    assert len(assemble.graph(now, EVERYTHING, "workload", False, False, 1).edges) == 1
    gone = replace(now, inventory=replace(now.inventory, workloads={}))
    assert all(e.traffic.rate for e in assemble.graph(gone, EVERYTHING, "workload", False, True, 1).edges)


def test_health_says_which_rule_made_it() -> None:
    shown = graph()
    cart = next(n for n in shown.nodes if n.name == "cart-v1")
    worst = cart.health.judgements[0]
    assert (cart.health.status, worst.status, worst.direction, worst.codes, worst.share) == (
        "Failure",
        "Failure",
        "inbound",
        "5XX",
        0.25,
    )
    assert (worst.degraded_from, worst.failure_from, cart.health.replicas_status) == (0.0, 0.1, "Degraded")
    edge = next(e for e in shown.edges if e.target == cart.id)
    assert (edge.status, edge.traffic.rate, edge.traffic.error_share) == ("Failure", 4.0, 0.25)
    assert edge.traffic.codes == {"200": 3.0, "503": 1.0}
    assert next(e for e in shown.edges if e.source == cart.id).status == "Healthy"


def test_badges() -> None:
    shown = graph(kind="workload", services=True, idle=True)
    badges = {n.name: n.badges for n in shown.nodes}
    assert badges["cart"] == ["faultInjection", "requestRouting", "requestTimeout"]
    assert badges["ingress"] == ["gateway", "trafficSource"]
    assert badges["lonely-v1"] == ["missingSidecar"]
    assert [n.name for n in shown.nodes if n.idle] == ["lonely-v1"]


def test_a_namespace_that_may_not_be_read_does_not_exist() -> None:
    scope = Scope(frozenset({"shop"}), frozenset({"shop"}))
    shown = graph(scope, services=True, idle=True)
    text = msgspec.json.encode(shown).decode()
    assert "bank" not in text
    assert "ledger" not in text
    assert "istio-system" not in text
    hidden = next(n for n in shown.nodes if n.name == "inaccessible")
    assert hidden.reason
    assert {(hidden.id, "service:shop/web"), ("workload:shop/cart-v1", hidden.id)} <= edges(shown)
    assert {i.namespace for i in assemble.items(snapshot(), scope, "workload")} == {"shop"}
    assert [n.name for n in assemble.namespaces(snapshot(), scope)] == ["shop"]
    assert [c.name for c in assemble.config(inventory_of(), scope, {})] == ["cart"]


def test_a_readable_namespace_that_was_not_asked_for_is_outside() -> None:
    shown = graph(Scope(frozenset({"bank"}), ALL))
    assert {n.name: n.outside for n in shown.nodes} == {"cart-v1": True, "ledger-v1": False}


def test_an_empty_graph_says_why() -> None:
    quiet = assemble.graph(snapshot(Graph()), EVERYTHING, "app", True, False, 1)
    assert "No requests" in quiet.notes[0]
    broken = assemble.graph(snapshot(Graph(), "Prometheus does not answer"), EVERYTHING, "app", True, False, 1)
    assert broken.notes == ["Prometheus does not answer"]


def test_deltas_lead_from_one_graph_to_the_next() -> None:
    before, after = (
        graph(),
        assemble.graph(snapshot(Graph(snapshot().traffic.edges[:2])), EVERYTHING, "workload", False, False, 2),
    )
    change = assemble.delta(before, after)
    nodes = {n.id: n for n in before.nodes if n.id not in change.removed_nodes} | {n.id: n for n in change.nodes}
    kept = {e.id: e for e in before.edges if e.id not in change.removed_edges} | {e.id: e for e in change.edges}
    assert nodes == {n.id: n for n in after.nodes}
    assert kept == {e.id: e for e in after.edges}
    assert (change.since, change.number, len(change.removed_edges)) == (1, 2, 1)
    same = assemble.delta(after, after)
    assert (same.nodes, same.edges, same.removed_nodes, same.removed_edges) == ([], [], [], [])


def test_lists() -> None:
    by_name = {item.name: item for item in assemble.items(snapshot(), EVERYTHING, "workload")}
    cart = by_name["cart-v1"]
    assert (cart.kind, cart.rate, cart.error_share, cart.health.status) == ("Deployment", 4.0, 0.25, "Failure")
    assert not by_name["lonely-v1"].sidecar
    assert by_name["lonely-v1"].health.status == "Healthy"  # its replicas are
    apps = {item.name: item for item in assemble.items(snapshot(), EVERYTHING, "app")}
    assert (apps["cart"].versions, apps["cart"].kind) == (["v1"], "App")


def test_the_overview_names_what_needs_attention() -> None:
    plane = schema.ControlPlane(version="1", proxies=3, stale=[])
    shown = assemble.overview(snapshot(), EVERYTHING, plane, [], {})
    assert {c.status: c.count for c in shown.applications} == {"Failure": 2, "Healthy": 3}
    assert (shown.error_rates[0].name, shown.error_rates[0].value) == ("cart", 0.25)
    assert (shown.config[0].name, shown.config[0].message, shown.config_count) == ("edge", "spec.servers: none", 2)
    assert shown.inbound_rate == pytest.approx(10.0)


def test_config_that_is_not_accepted_comes_first() -> None:
    rows = assemble.config(inventory_of(), EVERYTHING, {})
    assert [(r.kind, r.accepted, r.proxies) for r in rows] == [
        ("Gateway", False, ""),
        ("VirtualService", True, "3/3 proxies"),
    ]
