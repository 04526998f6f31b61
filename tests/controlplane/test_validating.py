"""The validating webhook's verdicts, and what the control plane makes of objects that came in without one."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec

from sailcloth.api import kinds
from sailcloth.api.meta import Key, Object
from sailcloth.controlplane import admission
from sailcloth.controlplane.revisions import Revisions
from sailcloth.testing.world import World

Request = dict[str, Any]


def rule(timeout: str = "1s", name: str = "a", **metadata: Any) -> Request:
    http = {"route": [{"destination": {"host": "b"}}], "timeout": timeout}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "ns", **metadata},
        "spec": {"hosts": [f"{name}.com"], "http": [http]},
    }


def ask(obj: Request | None, old: Request | None = None, **more: Any) -> Request:
    operation = "DELETE" if obj is None else "UPDATE" if old is not None else "CREATE"
    return admission.review({"uid": "1", "operation": operation, "object": obj, "oldObject": old, **more})


def test_a_right_object_is_allowed_without_a_word() -> None:
    assert ask(rule()) == {"uid": "1", "allowed": True}


def test_a_wrong_object_is_denied_with_all_findings() -> None:
    wrong = rule("1us")
    wrong["spec"]["hosts"] = ["a b"]
    answer = ask(wrong)
    assert not answer["allowed"]
    assert answer["status"]["code"] == 400
    assert [c["field"] for c in answer["status"]["details"]["causes"]] == ["spec.hosts[0]", "spec.http[0].timeout"]
    for part in ("configuration is invalid", "spec.hosts[0]", "spec.http[0].timeout", "Give at least 1ms."):
        assert part in answer["status"]["message"]


def test_what_is_the_control_planes_own_is_denied_in_every_kind() -> None:
    """Of some kinds the rest of the object comes first."""
    denied = set()
    for kind in kinds.MESH_KINDS:
        if kind.api_version.partition("/")[0] not in admission.GROUPS:
            continue
        made: Request = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": "a", "namespace": "ns"},
        }
        made["metadata"]["annotations"] = {"internal.istio.io/gateway-semantics": "gateway"}
        answer = ask(made)
        if "annotation internal" in str(answer.get("status")):
            denied.add(kind.name)
    assert {"VirtualService", "Gateway", "AuthorizationPolicy", "PeerAuthentication", "RateLimit"} <= denied


async def test_a_policy_whose_target_is_missing_says_so_in_its_status() -> None:
    """As in Istio, admission has nothing against it."""
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}
    async with World() as world:
        key = Key("AuthorizationPolicy", "ns", "a")
        for target, message in (
            (gateway, "no pod in ns has the label"),
            ({"kind": "Service", "name": "a"}, "waypoint"),
        ):
            metadata = {"name": "a", "namespace": "ns", "generation": 1}
            obj = {"apiVersion": "security.istio.io/v1", "kind": key.kind, "metadata": metadata}
            obj["spec"] = {"rules": [{}], "targetRefs": [target]}
            assert ask(obj) == {"uid": "1", "allowed": True}
            await world.apply(json.dumps(obj))
            accepted = world.condition(key, "Accepted")
            assert (accepted["status"], accepted["reason"]) == ("False", "TargetNotFound")
            assert accepted["message"].startswith("not in force anywhere: ")
            assert message in accepted["message"]
        labels = {"gateway.networking.k8s.io/gateway-name": "web"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "labels": labels}}
        obj["spec"]["targetRefs"] = [gateway]
        obj["metadata"]["generation"] = 2
        await world.apply(json.dumps(pod), json.dumps(obj))
        assert world.condition(key, "Accepted")["status"] == "True"


def test_warnings_are_single_short_lines() -> None:
    doubtful = rule()
    doubtful["spec"]["http"].append(doubtful["spec"]["http"][0])
    doubtful["spec"]["gateways"] = ["a.b"]
    answer = ask(doubtful)
    assert answer["allowed"]
    assert len(answer["warnings"]) == 2
    assert all(w.isprintable() and len(w) <= 250 for w in answer["warnings"])


def test_a_stored_object_that_is_wrong_can_be_finalised_and_labelled() -> None:
    stored = rule("1us", finalizers=["x/y"])
    going = rule("1us", deletionTimestamp="2026-01-01T00:00:00Z")
    labelled = rule("1us", labels={"a": "b"})
    for new in (going, labelled):
        answer = ask(new, stored)
        assert answer["allowed"]
        assert "spec.http[0].timeout" in answer["warnings"][0]
    still = copy.deepcopy(stored)
    still["spec"]["hosts"] = ["c.com"]
    assert not ask(still, stored)["allowed"]
    assert ask(rule(), stored)["allowed"]


def test_status_deletion_and_unknown_kinds_are_not_judged() -> None:
    assert ask(rule("1us"), rule("1us"), subResource="status")["allowed"]
    assert ask(None, rule("1us"))["allowed"]
    assert ask({"apiVersion": "networking.istio.io/v1", "kind": "Unheard", "spec": {}})["allowed"]


def test_a_revision_that_nobody_has_is_said() -> None:
    labelled = rule()
    labelled["metadata"]["labels"] = {"istio.io/rev": "canery"}
    known = {"default", "canary"}
    answer = admission.review({"operation": "CREATE", "object": labelled}, known)
    assert "no control plane has the revision or tag canery" in answer["warnings"][0]
    labelled["metadata"]["labels"] = {"istio.io/rev": "canary"}
    assert "warnings" not in admission.review({"operation": "CREATE", "object": labelled}, known)


def test_the_configuration_never_stops_the_cluster() -> None:
    revisions = Revisions("istio-system", "", lambda key, obj: None)
    for hook in admission.configuration(b"pem", revisions)["webhooks"]:
        assert hook["failurePolicy"] == "Ignore"
        (concerned,) = hook["rules"]
        assert concerned["resources"] == ["*"]  # subresources such as status would be */*
        assert "DELETE" not in concerned["operations"]


def typed(obj: Request) -> tuple[Key, Object]:
    kind = kinds.kind_of(obj)
    assert kind is not None
    found: Object = msgspec.convert(obj, kind.type)
    return Key(kind.name, found.metadata.namespace, found.metadata.name), found


SERVICE: Request = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "b", "namespace": "ns"},
    "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]},
}


async def take(world: World, *objects: Request) -> None:
    for obj in objects:
        world.updates.change(*typed(obj))
    await world.settle()


async def test_an_object_that_came_in_wrong_does_not_replace_the_one_before() -> None:
    async with World() as world:
        key, before = typed(rule())
        await take(world, SERVICE, rule())
        await take(world, rule("1us"))
        assert world.mesh.objects[key] == before


async def test_an_object_that_came_in_wrong_stops_no_other() -> None:
    async with World() as world:
        await take(world, SERVICE, rule("1us", name="wrong"), rule(name="right"))
        assert typed(rule(name="right"))[0] in world.mesh.objects
        assert typed(rule(name="wrong"))[0] not in world.mesh.objects
        await take(world, rule(name="wrong"))
        assert typed(rule(name="wrong"))[0] in world.mesh.objects


async def test_a_policy_takes_effect_even_if_it_is_half_wrong() -> None:
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}},
    }
    key, obj = typed(policy)
    async with World() as world:
        await take(world, policy)
        assert world.mesh.objects[key] == obj
