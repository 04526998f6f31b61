"""The discovery state machine on plain method calls and a hand-set clock: order, coalescing, refusal, reconnection."""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.envoy.resource import EnvoyResource
from sailcloth.lib.incremental import Graph
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.collection import LiveCollection
from sailcloth.xds.stream import REMOVAL_LINGER_S, WARM_DEADLINE_S, Stream
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, NAMES, ROUTES


def names(graph: Graph, kind: str) -> tuple[str, ...]:
    return tuple(graph.read(("names", kind)) or ())


def one(graph: Graph, kind: str, name: str) -> EnvoyResource | None:
    value = graph.read((kind, name))
    if value is None:
        return None
    body, clusters = value
    return EnvoyResource(name, body, body.encode(), frozenset(clusters), (), name if kind == CLUSTER else "")


class World:
    """A mesh of plain strings, one stream that watches it, and a client that remembers what it was told."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.now = 100.0
        self.live: dict[str, LiveCollection] = {}
        for kind in (CLUSTER, ENDPOINTS, LISTENER, ROUTES, NAMES):
            self.graph.set(("names", kind), ())
            self.live[kind] = LiveCollection(self.graph, names, one, (kind,))
        self.stream = Stream(ResponseCache())
        self.stream.assign({kind: (live,) for kind, live in self.live.items()})

    def put(self, kind: str, name: str, body: str | None, clusters: tuple[str, ...] = ()) -> None:
        have = set(names(self.graph, kind))
        if body is None:
            self.graph.unset((kind, name))
            have.discard(name)
        else:
            self.graph.set((kind, name), (body, clusters))
            have.add(name)
        self.graph.set(("names", kind), tuple(sorted(have)))
        self.graph.touched()
        self.live[kind].refresh_ids()
        self.live[kind].refresh([name])

    def pump(self) -> list[Any]:
        return [discovery_pb2.DeltaDiscoveryResponse.FromString(m) for m in self.stream.pump(self.now)]

    def ack(self, response: Any, error: str = "") -> None:
        self.stream.on_delta(response.type_url, nonce=response.nonce, error=error)

    def settle(self) -> list[Any]:
        out = []
        for _ in range(20):
            got = self.pump()
            if not got:
                return out
            for response in got:
                out.append(response)
                self.ack(response)
        raise AssertionError("the stream does not come to rest")

    def start(self) -> None:
        self.put(CLUSTER, "c1", "c1.1")
        self.put(ENDPOINTS, "c1", "e1.1")
        self.put(LISTENER, "l", "l.1")
        self.put(ROUTES, "r", "r.1", ("c1",))
        self.stream.on_delta(CLUSTER)
        self.stream.on_delta(LISTENER)
        self.settle()
        self.stream.on_delta(ENDPOINTS, subscribe=["c1"])
        self.stream.on_delta(ROUTES, subscribe=["r"])
        self.settle()
        assert self.stream.in_sync


def told(responses: list[Any]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (r.type_url.rsplit(".", 1)[-1], [x.name for x in r.resources], list(r.removed_resources)) for r in responses
    ]


def test_one_changed_endpoint_sends_one_assignment_and_nothing_else() -> None:
    world = World()
    world.start()
    world.put(ENDPOINTS, "c1", "e1.2")
    assert told(world.settle()) == [("ClusterLoadAssignment", ["c1"], [])]


def test_routes_wait_until_new_clusters_are_acknowledged() -> None:
    world = World()
    world.start()
    world.put(ROUTES, "r", "r.2", ("c2",))
    world.put(CLUSTER, "c2", "c2.1")
    world.put(ENDPOINTS, "c2", "e2.1")
    first = world.pump()
    assert told(first) == [("Cluster", ["c2"], [])]
    assert world.pump() == []
    world.stream.on_delta(ENDPOINTS, subscribe=["c2"])  # Envoy asks before it acknowledges
    endpoints = world.pump()
    assert told(endpoints) == [("ClusterLoadAssignment", ["c2"], [])]
    world.ack(endpoints[0])
    assert world.pump() == []
    world.ack(first[0])
    assert told(world.pump()) == [("RouteConfiguration", ["r"], [])]


def test_routes_follow_after_a_deadline_if_a_cluster_never_warms() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "c2", "c2.1")
    world.put(ROUTES, "r", "r.2")
    world.pump()
    assert world.stream.deadline is not None
    world.now += WARM_DEADLINE_S + 0.1
    assert ("RouteConfiguration", ["r"], []) in told(world.pump())


def test_a_changed_cluster_gets_its_endpoints_again() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "c1", "c1.2")
    assert told(world.pump()) == [("Cluster", ["c1"], []), ("ClusterLoadAssignment", ["c1"], [])]


def test_clusters_are_removed_last_and_after_a_while() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "c2", "c2.1")
    world.settle()
    world.put(CLUSTER, "c1", None)
    world.put(ROUTES, "r", "r.2", ("c2",))
    assert told(world.settle()) == [("RouteConfiguration", ["r"], [])]
    assert world.pump() == []
    world.now += REMOVAL_LINGER_S + 0.1
    assert told(world.settle()) == [("Cluster", [], ["c1"])]


def test_a_cluster_stays_while_a_route_refers_to_it() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "c1", None)
    world.settle()
    world.now += 10 * REMOVAL_LINGER_S
    assert world.settle() == []
    world.put(CLUSTER, "c1", "c1.3")
    assert told(world.settle())[0] == ("Cluster", ["c1"], [])


def test_changes_while_one_is_in_flight_are_sent_once() -> None:
    world = World()
    world.start()
    world.put(ROUTES, "r", "r.2")
    (first,) = world.pump()
    for n in range(3, 9):
        world.put(ROUTES, "r", f"r.{n}")
        assert world.pump() == []
    world.ack(first)
    (last,) = world.pump()
    assert last.resources[0].resource.value == b"r.8"


def test_refusal_is_kept_and_not_repeated() -> None:
    world = World()
    world.start()
    world.put(LISTENER, "l", "bad")
    (response,) = world.pump()
    world.ack(response, error="no such filter")
    assert world.pump() == []
    assert world.stream.errors == {LISTENER: "no such filter"}
    world.put(LISTENER, "l", "good")
    world.settle()
    assert world.stream.errors == {}


def test_an_answer_to_an_older_nonce_changes_nothing() -> None:
    world = World()
    world.start()
    world.put(ROUTES, "r", "r.2")
    world.pump()
    world.stream.on_delta(ROUTES, nonce="not-mine")
    assert not world.stream.in_sync


def test_a_reconnecting_client_is_sent_only_what_changed() -> None:
    world = World()
    world.start()
    again = Stream(ResponseCache())
    again.assign({kind: (live,) for kind, live in world.live.items()})
    world.stream = again
    again.on_delta(CLUSTER, initial={"c1": "c1.1", "gone": "x"})
    again.on_delta(LISTENER, initial={"l": "l.0"})
    again.on_delta(ENDPOINTS, subscribe=["c1"], initial={"c1": "e1.1"})
    again.on_delta(ROUTES, subscribe=["r"], initial={"r": "r.1"})
    assert told(world.settle()) == [("Listener", ["l"], [])]
    world.now += REMOVAL_LINGER_S + 0.1
    world.settle()
    world.now += REMOVAL_LINGER_S + 0.1
    assert world.stream.in_sync


def test_an_unknown_name_is_answered() -> None:
    world = World()
    world.start()
    world.stream.on_delta(ENDPOINTS, subscribe=["nobody"])
    assert told(world.settle()) == [("ClusterLoadAssignment", [], ["nobody"])]


def test_equal_streams_share_their_bytes() -> None:
    world = World()
    world.put(CLUSTER, "c1", "c1.1")
    cache = ResponseCache()
    messages = []
    for _ in range(3):
        stream = Stream(cache)
        stream.assign({CLUSTER: (world.live[CLUSTER],)})
        stream.on_delta(CLUSTER)
        messages += stream.pump(0.0)
    assert len(messages) == 3
    assert len({id(m) for m in messages}) == 1


def test_state_of_the_world_sends_everything_of_a_type() -> None:
    world = World()
    world.put(CLUSTER, "a", "a.1")
    world.put(CLUSTER, "b", "b.1")
    stream = Stream(ResponseCache(), delta=False)
    stream.assign({CLUSTER: (world.live[CLUSTER],)})
    stream.on_sotw(CLUSTER, [])
    (first,) = [discovery_pb2.DiscoveryResponse.FromString(m) for m in stream.pump(0.0)]
    assert len(first.resources) == 2
    stream.on_sotw(CLUSTER, [], nonce=first.nonce)
    assert stream.pump(0.0) == []
    world.put(CLUSTER, "a", "a.2")
    (second,) = [discovery_pb2.DiscoveryResponse.FromString(m) for m in stream.pump(0.0)]
    assert len(second.resources) == 2


def test_a_collection_made_where_an_old_one_was_is_not_taken_for_it() -> None:
    world = World()
    cache = ResponseCache()
    said = []
    for body in ("old", "new"):
        world.graph.set(("names", "passing"), ("l",))
        world.graph.set(("passing", "l"), (body, ()))
        live = LiveCollection(world.graph, names, one, ("passing",))
        stream = Stream(cache)
        stream.assign({LISTENER: (live,)})
        stream.on_delta(LISTENER)
        said += [discovery_pb2.DeltaDiscoveryResponse.FromString(m).resources[0].version for m in stream.pump(0.0)]
        live.close()
        world.graph.collect()
        del live, stream  # the next one may well get its address
    assert said == ["old", "new"]


def test_joined_frames_are_what_protobuf_would_write() -> None:
    world = World()
    world.put(CLUSTER, "name-1", "v" * 300)
    world.stream.on_delta(CLUSTER)
    (message,) = world.stream.pump(0.0)
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
    assert response.SerializeToString(deterministic=True) == message
    (found,) = response.resources
    assert (found.name, found.version, found.resource.value) == ("name-1", "v" * 300, b"v" * 300)
    assert found.resource.type_url == CLUSTER


def test_a_cluster_that_comes_back_while_its_removal_is_on_the_way_is_there_before_its_routes() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "c2", "c2.1")
    world.settle()
    world.put(CLUSTER, "c2", None)
    world.settle()
    world.now += REMOVAL_LINGER_S + 0.1
    (removal,) = world.pump()
    assert list(removal.removed_resources) == ["c2"]
    world.put(CLUSTER, "c2", "c2.1")
    world.put(ROUTES, "r", "r.2", ("c2",))
    assert told(world.pump()) == []
    world.now += WARM_DEADLINE_S / 2
    world.ack(removal)
    (added,) = world.pump()
    assert told([added]) == [("Cluster", ["c2"], [])]
    world.now += WARM_DEADLINE_S - 1  # long after anything before had settled
    assert told(world.pump()) == []
    world.ack(added)
    assert told(world.settle()) == [("RouteConfiguration", ["r"], [])]


def test_routes_wait_for_new_clusters_even_while_older_ones_never_settle() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "slow", "slow.1")
    (slow,) = world.pump()
    world.now += WARM_DEADLINE_S + 1
    world.put(CLUSTER, "c2", "c2.1")
    world.put(ROUTES, "r", "r.2", ("c2",))
    (added,) = world.pump()
    assert told([added]) == [("Cluster", ["c2"], [])]
    world.ack(slow)
    assert told(world.pump()) == []
    world.ack(added)
    assert told(world.settle()) == [("RouteConfiguration", ["r"], [])]


def test_nothing_is_said_once_and_not_for_ever() -> None:
    world = World()
    world.stream.on_delta(LISTENER)
    (empty,) = world.pump()
    assert not empty.resources
    world.ack(empty)
    assert world.pump() == []
    again = Stream(ResponseCache())
    again.assign({})
    again.on_delta(LISTENER)
    assert len(again.pump(0.0)) == 1
    again.on_delta(LISTENER, nonce="1")
    assert again.pump(0.0) == []


def test_after_a_reconnection_routes_still_wait_for_their_clusters() -> None:
    world = World()
    world.start()
    again = Stream(ResponseCache())
    again.assign({kind: (live,) for kind, live in world.live.items()})
    world.stream = again
    again.on_delta(CLUSTER, initial={"c1": "c1.1"})
    again.on_delta(LISTENER, initial={"l": "l.1"})
    again.on_delta(ENDPOINTS, subscribe=["c1"], initial={"c1": "e1.1"})
    again.on_delta(ROUTES, subscribe=["r"], initial={"r": "r.1"})
    world.settle()
    world.put(CLUSTER, "c2", "c2.1")
    world.put(ROUTES, "r", "r.2", ("c2",))
    (added,) = world.pump()
    assert told([added]) == [("Cluster", ["c2"], [])]
    assert told(world.pump()) == []
    world.ack(added)
    assert told(world.settle()) == [("RouteConfiguration", ["r"], [])]


def test_each_cluster_lingers_by_itself() -> None:
    world = World()
    world.start()
    for name in ("c2", "c3"):
        world.put(CLUSTER, name, name)
    world.settle()
    world.put(CLUSTER, "c2", None)
    world.settle()
    world.now += REMOVAL_LINGER_S - 0.5
    world.put(CLUSTER, "c3", None)
    world.settle()
    world.now += 0.6
    (first,) = world.settle()
    assert list(first.removed_resources) == ["c2"]
    world.now += REMOVAL_LINGER_S
    (second,) = world.settle()
    assert list(second.removed_resources) == ["c3"]


def test_a_name_is_told_when_there_is_a_listener_at_its_address() -> None:
    world = World()
    world.start()
    world.stream.on_delta(NAMES, subscribe=["*"])
    world.settle()
    world.put(NAMES, "db.example.com", "240.240.0.1")
    world.put(LISTENER, "240.240.0.1_3306", "l.1", ("c2",))
    world.put(CLUSTER, "c2", "c2.1")
    clusters = world.pump()
    assert told(clusters) == [("Cluster", ["c2"], [])]
    world.ack(clusters[0])
    listeners = world.pump()
    assert told(listeners) == [("Listener", ["240.240.0.1_3306"], [])]
    world.ack(listeners[0])
    names = world.pump()
    assert told(names) == [("NameTable", ["db.example.com"], [])]
    assert not world.stream.in_sync
    world.ack(names[0])
    world.put(NAMES, "db.example.com", None)
    assert told(world.settle()) == [("NameTable", [], ["db.example.com"])]


def test_an_agent_that_knows_its_names_is_told_only_what_changed() -> None:
    world = World()
    world.start()
    world.put(NAMES, "a", "1")
    world.put(NAMES, "b", "2")
    world.stream.on_delta(NAMES, subscribe=["*"], initial={"a": "1", "gone": "0"})
    assert told(world.settle()) == [("NameTable", ["b"], ["gone"])]


def test_a_cluster_that_changed_while_the_client_was_away_gets_its_endpoints_although_it_has_them() -> None:
    """The client comes back and asks for clusters first, and they are answered before it asks for endpoints."""
    world = World()
    world.put(CLUSTER, "c1", "c1.2")
    world.put(CLUSTER, "c2", "c2.1")
    world.put(ENDPOINTS, "c1", "e1.1")
    world.put(ENDPOINTS, "c2", "e2.1")
    world.stream.on_delta(CLUSTER, initial={"c1": "c1.1", "c2": "c2.1"})
    clusters = world.pump()
    assert told(clusters) == [("Cluster", ["c1"], [])]
    world.stream.on_delta(ENDPOINTS, subscribe=["c1", "c2"], initial={"c1": "e1.1", "c2": "e2.1"})
    assert told(world.pump()) == [("ClusterLoadAssignment", ["c1"], [])]
    world.ack(clusters[0])


def test_a_client_that_comes_back_to_what_it_has_is_told_nothing() -> None:
    world = World()
    world.put(CLUSTER, "c1", "c1.1")
    world.put(ENDPOINTS, "c1", "e1.1")
    world.stream.on_delta(CLUSTER, initial={"c1": "c1.1"})
    world.stream.on_delta(ENDPOINTS, subscribe=["c1"], initial={"c1": "e1.1"})
    assert told(world.pump()) == []
    assert world.stream.in_sync


def test_a_changed_cluster_whose_endpoints_are_gone_by_then_does_not_warm_for_ever() -> None:
    world = World()
    world.start()
    world.put(ENDPOINTS, "c1", "e1.2")
    (in_flight,) = world.pump()
    world.put(CLUSTER, "c1", "c1.2")
    (changed,) = world.pump()
    assert changed.type_url == CLUSTER
    world.put(ENDPOINTS, "c1", None)
    world.put(CLUSTER, "c1", None)
    world.ack(in_flight)
    told = [r for r in world.pump() if r.type_url == ENDPOINTS]
    assert [list(r.removed_resources) for r in told] == [["c1"]], "the client waits for word of these endpoints"


def test_clusters_that_are_never_acknowledged_do_not_hold_up_those_after_them() -> None:
    world = World()
    world.start()
    world.put(CLUSTER, "cold", "cold.1")
    (cold,) = world.pump()
    world.put(CLUSTER, "c2", "c2.1")
    world.put(CLUSTER, "c1", None)
    world.put(ROUTES, "r", "r.2", ("c2",))
    assert world.pump() == []
    assert world.stream.deadline is not None
    world.now += WARM_DEADLINE_S
    (late,) = world.pump()
    assert late.type_url == CLUSTER
    assert [r.name for r in late.resources] == ["c2"]
    world.now = world.stream.deadline or 0.0
    (routes,) = world.pump()
    assert routes.type_url == ROUTES
    world.ack(routes)
    world.pump()
    world.now = (world.stream.deadline or 0.0) + WARM_DEADLINE_S
    (removal,) = world.pump()
    assert list(removal.removed_resources) == ["c1"]
    assert not world.stream.in_sync
    world.ack(cold)  # an answer to what was replaced says nothing
    assert not world.stream.in_sync
    world.ack(removal)
    assert world.stream.in_sync
