"""Details of workloads, services, applications and namespaces: what belongs to them, what concerns them, and who may see it."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis.describe import MeshSnapshot
from sailcloth.console import details, schema_details
from sailcloth.console.answers import BadQuery, Missing
from sailcloth.console.described_mesh import DescribedMesh
from sailcloth.console.details import Subject
from sailcloth.console.sources import Sync

from .cluster import ALL, EVENTS, LISTS, VIRTUAL_SERVICE, snapshot

RULE: dict[str, Any] = {
    "kind": "DestinationRule",
    "apiVersion": "networking.istio.io/v1",
    "metadata": {"name": "cart", "namespace": "shop"},
    "spec": {"host": "cart", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
}
STRICT: dict[str, Any] = {
    "kind": "PeerAuthentication",
    "apiVersion": "security.istio.io/v1",
    "metadata": {"name": "default", "namespace": "istio-system"},
    "spec": {"mtls": {"mode": "STRICT"}},
}
CONFIG = [VIRTUAL_SERVICE, RULE, STRICT]
SYNC = Sync(frozenset({"cart-v1-abc-1.shop", "web-v1-abc-1.shop"}), frozenset({"web-v1-abc-1.shop"}))


async def mesh() -> MeshSnapshot:
    return await DescribedMesh().snapshot(LISTS, CONFIG)


async def about(kind: schema_details.Kind, name: str, readable: frozenset[str] = ALL) -> schema_details.Details:
    return details.details(snapshot(), Subject(kind, "shop", name), LISTS, SYNC, await mesh(), readable)


async def test_a_workload_has_its_pods_and_what_concerns_it() -> None:
    cart = await about("workload", "cart-v1")
    assert (cart.type, cart.health.status, cart.rate) == ("Deployment", "Failure", 4.0)
    (pod,) = cart.pods
    assert (pod.name, pod.containers, pod.node, pod.sidecar, pod.synced) == (
        "cart-v1-abc-1",
        "2/2",
        "node-1",
        True,
        True,
    )
    assert {(r.kind, r.name) for r in cart.related} == {("app", "cart"), ("service", "cart")}
    concern = {(o.kind, o.namespace, o.name): o for o in cart.objects}
    assert ("VirtualService", "shop", "cart") in concern
    assert "subsets v1" in concern["DestinationRule", "shop", "cart"].note
    assert ("PeerAuthentication", "istio-system", "default") in concern
    assert [(m.port, m.mode, m.source) for m in cart.mutual_tls][-1] == (
        0,
        "STRICT",
        "PeerAuthentication istio-system/default",
    )


async def test_a_service_has_its_ports_and_endpoints() -> None:
    web = await about("service", "web")
    assert (web.selector, [(p.number, p.protocol, p.target) for p in web.ports]) == (
        {"app": "web"},
        [(80, "HTTP", "8080")],
    )
    assert [(e.pod, e.node, e.ready) for e in web.endpoints] == [("web-v1-abc-1", "node-1", True)]
    assert {(r.kind, r.name) for r in web.related} == {("app", "web"), ("workload", "web-v1")}
    assert [p.synced for p in web.pods] == [False]


async def test_an_application_has_its_workloads() -> None:
    cart = await about("app", "cart")
    assert (cart.type, cart.versions, cart.labels) == ("App", ["v1"], {"app": "cart", "version": "v1"})
    assert {(r.kind, r.name) for r in cart.related} == {("workload", "cart-v1"), ("service", "cart")}


async def test_objects_of_namespaces_that_may_not_be_read_are_not_named() -> None:
    cart = await about("workload", "cart-v1", frozenset({"shop"}))
    assert {o.namespace for o in cart.objects} == {"shop"}
    assert [(m.mode, m.source) for m in cart.mutual_tls][-1] == ("STRICT", "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("VirtualService bank/ledger", True),
        ("host ledger.bank.svc.cluster.local", True),
        ("spiffe://cluster.local/ns/bank/sa/x", True),
        ("the embankment/x and my-bank/x", False),
        ("bank", False),
    ],
)
def test_texts_that_name_a_hidden_namespace(text: str, named: bool) -> None:
    assert details.mentions(frozenset({"bank"}))(text) is named
    assert details.mentions(frozenset({"bank"}), alone=True)(text) is (named or text == "bank")
    assert not details.mentions(frozenset())(text)


async def test_what_does_not_exist_is_missing() -> None:
    with pytest.raises(Missing, match="no workload nothing in namespace shop"):
        await about("workload", "nothing")
    query = {"kind": "service", "namespace": "bank", "name": "ledger"}
    with pytest.raises(Missing, match="bank, or you may not read it"):
        details.subject(query, frozenset({"shop"}))
    assert details.subject(query, ALL) == Subject("service", "bank", "ledger")
    for wrong in ({**query, "kind": "pod"}, {**query, "name": ""}, {"kind": "app"}):
        with pytest.raises(BadQuery):
            details.subject(wrong, ALL)


async def test_the_mesh_follows_its_objects() -> None:
    described = DescribedMesh()
    before = await described.snapshot(LISTS, CONFIG)
    again = await described.snapshot(LISTS, CONFIG)
    assert again.mesh is before.mesh
    await described.snapshot({**LISTS, "services": LISTS["services"][:1]}, [])
    assert {k.name for k in before.mesh.objects if k.kind == "Service"} == {"web"}
    assert not any(k.kind == "VirtualService" for k in before.mesh.objects)


async def test_the_mesh_has_the_options_of_the_cluster() -> None:
    described = DescribedMesh()
    for options, domain in (
        ("trustDomain: a.example", "a.example"),
        ("trustDomain: [", "a.example"),
        ("", "cluster.local"),
    ):
        assert (await described.snapshot(LISTS, CONFIG, options)).mesh.config.trust_domain == domain


async def test_events_are_those_of_the_subject_and_its_pods() -> None:
    cart = await about("workload", "cart-v1")
    assert [e.name for e in details.events(EVENTS[:3], cart)] == ["cart-v1-abc", "cart-v1-abc-1"]
    assert len(details.events(EVENTS, None)) == 4


def test_a_pod_says_why_it_is_not_ready() -> None:
    waiting = {"name": "app", "ready": False, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}
    pod = {
        "metadata": {"name": "a", "namespace": "shop"},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    assert details._pod(pod, SYNC).reason == "app: ImagePullBackOff no"


async def test_a_namespace() -> None:
    shown = details.namespace(snapshot(), "shop", ALL, [], [], {})
    assert (shown.injected, shown.health.status) == (True, "Failure")
    assert [i.name for i in shown.services] == ["cart", "web"]
    with pytest.raises(Missing):
        details.namespace(snapshot(), "bank", frozenset({"shop"}), [], [], {})
