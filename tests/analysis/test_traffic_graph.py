"""The traffic graph of Istio's metrics: edges, who reports them, and the texts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from sailcloth.analysis import traffic_graph
from sailcloth.analysis.traffic_graph import Graph, Node, Sample


def sample(value: float, source: str, destination: str, reporter: str = "source", **labels: str) -> Sample:
    """`destination` is workload@service; a source or workload `unknown` is not known."""
    workload, _, service = destination.partition("@")
    made = {
        "reporter": reporter,
        "source_workload": source,
        "source_workload_namespace": "unknown" if source == "unknown" else "shop",
        "destination_workload": workload,
        "destination_workload_namespace": "unknown" if workload == "unknown" else "shop",
        "destination_service": f"{service}.shop.svc.cluster.local",
        "destination_service_name": service,
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": "200",
        "connection_security_policy": "unknown",
    }
    return {**made, **labels}, value


SECURE = {"reporter": "destination", "connection_security_policy": "mutual_tls"}
REQUESTS = [
    sample(8, "web", "cart-v1@cart"),
    sample(2, "web", "cart-v1@cart", response_code="503"),
    sample(10, "web", "cart-v1@cart", **SECURE),
    sample(4, "unknown", "web@web", reporter="destination", connection_security_policy="none"),
    sample(1, "web", "unknown@db", response_code="503"),
    sample(3, "cart-v1", "rpc@rpc", request_protocol="grpc", grpc_response_status="14"),
    sample(0.5, "web", "unknown@PassthroughCluster", destination_service_namespace="unknown"),
]


def made() -> Graph:
    times = [sample(12.5, "web", "cart-v1@cart"), sample(float("nan"), "web", "unknown@db")]
    return traffic_graph.graph(
        REQUESTS, [sample(700, "web", "queue@queue")], [sample(300, "web", "queue@queue")], p95=times
    )


def test_edges_and_their_numbers() -> None:
    edges = {(e.source.name, e.destination.name): e for e in made().edges}
    assert set(edges) == {
        ("web", "cart-v1"),
        ("unknown", "web"),
        ("web", "db"),
        ("cart-v1", "rpc"),
        ("web", "PassthroughCluster"),
        ("web", "queue"),
    }
    cart = edges["web", "cart-v1"]
    assert (cart.rate, cart.errors, cart.error_share, cart.secured, cart.quantiles) == (10, 2, 0.2, 1.0, {"p95": 12.5})
    assert (edges["unknown", "web"].rate, edges["unknown", "web"].secured) == (4, 0.0)
    assert edges["web", "db"].destination == Node("shop", "db", "service")
    assert edges["web", "db"].quantiles == {}
    assert edges["cart-v1", "rpc"].error_share == 1
    assert (edges["web", "queue"].bytes, edges["web", "queue"].protocol) == (1000, "tcp")
    assert edges["web", "PassthroughCluster"].destination.id == "PassthroughCluster"


def test_the_busiest_edge_is_first() -> None:
    assert [e.destination.name for e in made().edges][:2] == ["cart-v1", "web"]


def test_the_texts_say_the_same() -> None:
    graph = made()
    told: dict[str, Any] = json.loads(json.dumps(traffic_graph.plain(graph)))
    assert len(told["edges"]) == len(graph.edges) == len(traffic_graph.rows(graph))
    assert traffic_graph.dot(graph).count("->") == len(graph.edges)
    assert traffic_graph.mermaid(graph).count("-->") == len(graph.edges)
    picture = ET.fromstring(traffic_graph.svg(graph))
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}rect")) == len(graph.nodes)
    assert len(picture.findall(f"{space}path")) == len(graph.edges)


def test_names_cannot_break_a_text() -> None:
    graph = traffic_graph.graph([sample(1, 'a"]<b>', "c@c")])
    ET.fromstring(traffic_graph.svg(graph))
    assert '"a\\"]<b>"' in traffic_graph.dot(graph)
    assert "<b>" not in traffic_graph.mermaid(graph)


def test_cycles_are_drawn() -> None:
    ring = [sample(1, "a", "b@b"), sample(1, "b", "c@c"), sample(1, "c", "a@a"), sample(1, "a", "a@a")]
    assert ET.fromstring(traffic_graph.svg(traffic_graph.graph(ring))) is not None


def test_an_empty_graph_has_texts() -> None:
    empty = traffic_graph.graph([])
    assert traffic_graph.rows(empty) == []
    ET.fromstring(traffic_graph.svg(empty))


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_queries_are_promql(namespace: str) -> None:
    promql_parser = pytest.importorskip("promql_parser")
    for expression in traffic_graph.queries("1m", namespace).values():
        promql_parser.parse(expression)


def test_times_are_the_callers_and_the_servers_are_kept_apart() -> None:
    """A delay before the destination is in the caller's times only; which sample comes first does not matter."""
    at_source, at_destination = sample(2000, "web", "cart"), sample(3, "web", "cart", reporter="destination")
    for times in ([at_source, at_destination], [at_destination, at_source]):
        (edge,) = traffic_graph.graph([sample(1, "web", "cart")], p95=times).edges
        assert (edge.quantiles, edge.server_quantiles) == ({"p95": 2000}, {"p95": 3})
    (unknown,) = traffic_graph.graph(
        [sample(1, "unknown", "cart", reporter="destination")],
        p95=[sample(3, "unknown", "cart", reporter="destination")],
    ).edges
    assert unknown.quantiles == {"p95": 3}
