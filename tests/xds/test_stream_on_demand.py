"""Clusters on first use, on the discovery state machine: told when asked for, kept up to date, never stale, never lost."""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.envoy.resource import EnvoyResource
from sailcloth.lib.incremental import Graph
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.collection import LiveCollection
from sailcloth.xds.stream import REMOVAL_LINGER_S, Stream
from sailcloth.xds.types import CLUSTER, ENDPOINTS

BASE, LATER = "base", "later"


def names(graph: Graph, part: str) -> tuple[str, ...]:
    return tuple(graph.read(("names", part)) or ())


def one(graph: Graph, part: str, name: str) -> EnvoyResource | None:
    body = graph.read((part, name))
    return EnvoyResource(name, body, body.encode(), frozenset(), (), name) if body is not None else None


class Client:
    """One stream with a collection that everybody gets and one by name, and what the client holds by now."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.now = 1.0
        self.live: dict[str, LiveCollection] = {}
        for part in (BASE, LATER, ENDPOINTS):
            self.graph.set(("names", part), ())
            self.live[part] = LiveCollection(self.graph, names, one, (part,), on_demand=part == LATER)
        self.put(BASE, "BlackHoleCluster", "1")
        for name in ("a", "b"):
            self.put(LATER, name, "1")
            self.put(ENDPOINTS, name, "1")
        self.held: dict[str, str] = {}
        self.stream = self.connected()

    def connected(self) -> Stream:
        stream = Stream(ResponseCache())
        stream.assign({CLUSTER: (self.live[BASE], self.live[LATER]), ENDPOINTS: (self.live[ENDPOINTS],)})
        return stream

    def put(self, part: str, name: str, body: str | None) -> None:
        have = set(names(self.graph, part)) - {name}
        if body is None:
            self.graph.unset((part, name))
        else:
            self.graph.set((part, name), body)
            have.add(name)
        self.graph.set(("names", part), tuple(sorted(have)))
        self.graph.touched()
        self.live[part].refresh_ids()
        self.live[part].refresh([name])

    def settle(self) -> list[tuple[str, list[str], list[str]]]:
        """Answer everything; (type, names sent, names removed) of each response."""
        out: list[tuple[str, list[str], list[str]]] = []
        while messages := self.stream.pump(self.now):
            for message in messages:
                response: Any = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
                sent, removed = [r.name for r in response.resources], list(response.removed_resources)
                out.append((response.type_url.rsplit(".", 1)[-1], sent, removed))
                if response.type_url == CLUSTER:
                    self.held.update({r.name: r.version for r in response.resources})
                    for name in removed:
                        self.held.pop(name, None)
                self.stream.on_delta(response.type_url, nonce=response.nonce)
        return out

    def start(self) -> None:
        self.stream.on_delta(CLUSTER)
        self.settle()


def test_only_what_everybody_gets_comes_unasked() -> None:
    client = Client()
    client.start()
    assert set(client.held) == {"BlackHoleCluster"}
    assert client.stream.in_sync


def test_a_cluster_comes_when_asked_for_and_is_kept_up_to_date_alone() -> None:
    client = Client()
    client.start()
    client.stream.on_delta(CLUSTER, subscribe=["a"])
    assert client.settle() == [("Cluster", ["a"], [])]
    client.put(LATER, "b", "2")
    assert client.settle() == []
    client.put(LATER, "a", "2")
    client.settle()
    assert client.held == {"BlackHoleCluster": "1", "a": "2"}


def test_what_everybody_gets_follows_although_names_were_asked_for() -> None:
    client = Client()
    client.start()
    client.stream.on_delta(CLUSTER, subscribe=["a"])
    client.settle()
    client.put(BASE, "mirror", "1")
    assert client.settle() == [("Cluster", ["mirror"], [])]


def test_an_unknown_name_is_answered_at_once_and_sent_when_it_comes_to_be() -> None:
    client = Client()
    client.start()
    client.stream.on_delta(CLUSTER, subscribe=["c"])
    assert client.settle() == [("Cluster", [], ["c"])]
    client.put(LATER, "c", "1")
    assert client.settle() == [("Cluster", ["c"], [])]


def test_a_cluster_that_went_is_taken_back_and_sent_again_without_being_asked_for() -> None:
    client = Client()
    client.start()
    client.stream.on_delta(CLUSTER, subscribe=["a"])
    client.settle()
    client.put(LATER, "a", None)
    client.settle()
    client.now += REMOVAL_LINGER_S + 0.1
    assert client.settle() == [("Cluster", [], ["a"])]
    client.put(LATER, "a", "3")
    assert client.settle() == [("Cluster", ["a"], [])]


def test_what_nobody_asked_for_is_not_taken_back_either() -> None:
    client = Client()
    client.start()
    client.put(LATER, "b", None)
    client.now += REMOVAL_LINGER_S + 0.1
    assert client.settle() == []


def test_what_is_expected_comes_with_the_first_answer() -> None:
    client = Client()
    asked: set[str] = set()
    client.stream.preload(frozenset({"a"}), asked.update)
    client.start()
    assert set(client.held) == {"BlackHoleCluster", "a"}
    client.stream.on_delta(CLUSTER, subscribe=["*", "b"])
    assert asked == {"b"}


def test_after_a_reconnect_only_what_changed_and_what_was_asked_meanwhile_is_sent() -> None:
    client = Client()
    client.start()
    client.stream.on_delta(CLUSTER, subscribe=["a"])
    client.settle()
    client.stream = client.connected()
    client.stream.on_delta(CLUSTER, subscribe=["*", "a", "b"], initial=dict(client.held))
    assert client.settle() == [("Cluster", ["b"], [])]


def test_a_client_that_had_everything_keeps_it_and_does_not_go_stale() -> None:
    client = Client()
    whole = LiveCollection(client.graph, names, lambda g, part, name: one(g, part, name), (LATER,))
    client.stream = Stream(ResponseCache())
    client.stream.assign({CLUSTER: (client.live[BASE], whole)})
    client.start()
    assert set(client.held) == {"BlackHoleCluster", "a", "b"}
    client.stream.assign({CLUSTER: (client.live[BASE], client.live[LATER])})
    client.settle()
    client.put(LATER, "b", "2")
    client.settle()
    assert client.held == {"BlackHoleCluster": "1", "a": "1", "b": "2"}
    client.stream.assign({CLUSTER: (client.live[BASE], whole)})
    whole.refresh(["b"])
    client.settle()
    assert set(client.held) == {"BlackHoleCluster", "a", "b"}


def test_two_clients_in_one_state_get_the_same_bytes_and_others_do_not() -> None:
    first, cache = Client(), ResponseCache()
    streams = [Stream(cache) for _ in range(3)]
    bodies = []
    for stream, wanted in zip(streams, (["a"], ["a"], ["b"]), strict=True):
        stream.assign({CLUSTER: (first.live[BASE], first.live[LATER])})
        stream.on_delta(CLUSTER)
        (body,) = stream.pump(1.0)
        stream.on_delta(CLUSTER, nonce=discovery_pb2.DeltaDiscoveryResponse.FromString(body).nonce)
        stream.on_delta(CLUSTER, subscribe=wanted)
        bodies.append(stream.pump(1.0))
    assert bodies[0][0] is bodies[1][0]
    assert [r.name for r in discovery_pb2.DeltaDiscoveryResponse.FromString(bodies[2][0]).resources] == ["b"]


def test_a_client_of_the_whole_state_has_everything() -> None:
    client = Client()
    client.stream = Stream(ResponseCache(), delta=False)
    client.stream.assign({CLUSTER: (client.live[BASE], client.live[LATER])})
    client.stream.on_sotw(CLUSTER, [])
    (body,) = client.stream.pump(1.0)
    assert len(discovery_pb2.DiscoveryResponse.FromString(body).resources) == 3
