"""Stock kubectl: each command has the effect that it has on a real cluster."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .cluster import Kubectl, until

Object = dict[str, Any]


def deployment(name: str = "web", replicas: int = 2, image: str = "example/web:1") -> Object:
    labels = {"app": name}
    container = {"name": "main", "image": image, "ports": [{"containerPort": 8080}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service(name: str = "web") -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def config(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data}


async def test_apply_tells_what_it_did(kubectl: Kubectl) -> None:
    assert await kubectl("apply", "-f", "-", input=config(a="1")) == "configmap/settings created\n"
    assert await kubectl("apply", "-f", "-", input=config(a="1")) == "configmap/settings unchanged\n"
    assert await kubectl("apply", "-f", "-", input=config(b="2")) == "configmap/settings configured\n"
    assert (await kubectl.json("get", "cm", "settings"))["data"] == {"b": "2"}


async def test_a_list_is_applied_item_by_item(kubectl: Kubectl) -> None:
    both = {"apiVersion": "v1", "kind": "List", "items": [config(a="1"), service()]}
    assert (await kubectl("apply", "-f", "-", input=both)).splitlines() == [
        "configmap/settings created",
        "service/web created",
    ]


async def test_server_side_apply_conflicts_until_forced(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    await kubectl(*apply, "--field-manager=one", input=config(a="1"))
    before = (await kubectl.json("get", "cm", "settings"))["metadata"]["resourceVersion"]
    await kubectl(*apply, "--field-manager=one", input=config(a="1"))
    assert (await kubectl.json("get", "cm", "settings"))["metadata"]["resourceVersion"] == before
    said = await kubectl.refused(*apply, "--field-manager=two", input=config(a="2"))
    assert 'conflict with "one": .data.a' in said
    await kubectl(*apply, "--field-manager=two", "--force-conflicts", input=config(a="2"))
    await kubectl(*apply, "--field-manager=one", input=config(c="3"))
    assert (await kubectl.json("get", "cm", "settings"))["data"] == {"a": "2", "c": "3"}


async def test_client_side_apply_may_become_server_side(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    await kubectl("apply", "--server-side", "-f", "-", input=deployment(replicas=1))
    await kubectl("apply", "--server-side", "-f", "-", input=deployment(replicas=3))
    found = await kubectl.json("get", "deploy", "web", "--show-managed-fields")
    assert found["spec"]["replicas"] == 3
    managers = {m["manager"] for m in found["metadata"]["managedFields"]}
    assert "kubectl" in managers
    assert "kubectl-client-side-apply" not in managers


async def test_diff_shows_and_changes_nothing(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", input=config(a="1"))
    result = await kubectl.run("diff", "-f", "-", input=config(a="2"))
    assert result.code == 1
    assert "-  a:" in result.out
    assert "+  a:" in result.out
    assert (await kubectl.json("get", "cm", "settings"))["data"] == {"a": "1"}


async def test_labels_annotations_and_selectors(kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "one", "--from-literal=a=1")
    await kubectl("create", "configmap", "two", "--from-literal=a=1")
    await kubectl("label", "cm", "one", "tier=front", "colour=blue")
    await kubectl("annotate", "cm", "one", "note=hello")
    for selector in ("tier=front", "tier in (front, back)", "tier,colour!=red", "tier"):
        assert await kubectl("get", "cm", "-l", selector, "-o", "name") == "configmap/one\n", selector
    names = await kubectl("get", "cm", "-l", "!tier", "-o", "name")
    assert "two" in names
    assert "one" not in names
    assert await kubectl("get", "cm", "--field-selector", "metadata.name=two", "-o", "name") == "configmap/two\n"
    await kubectl("label", "cm", "one", "tier-")
    found = (await kubectl.json("get", "cm", "one"))["metadata"]
    assert found["labels"] == {"colour": "blue"}
    assert found["annotations"] == {"note": "hello"}
    assert "already has a value" in await kubectl.refused("label", "cm", "one", "colour=red")


async def test_three_kinds_of_patches(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", input=deployment())
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "second", "image": "b"}]}}}}
    await kubectl("patch", "deploy", "web", "-p", json.dumps(strategic))
    containers = (await kubectl.json("get", "deploy", "web"))["spec"]["template"]["spec"]["containers"]
    assert sorted(c["name"] for c in containers) == ["main", "second"]
    await kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec": {"replicas": 5}}')
    operation = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "c"}]
    await kubectl("patch", "deploy", "web", "--type=json", "-p", json.dumps(operation))
    spec = (await kubectl.json("get", "deploy", "web"))["spec"]
    assert spec["replicas"] == 5
    assert spec["template"]["spec"]["containers"][0]["image"] == "c"
    said = await kubectl.refused(
        "patch", "deploy", "web", "--type=json", "-p", '[{"op": "remove", "path": "/no/such"}]'
    )
    assert "remove" in said or "no" in said


async def test_set_image_env_and_expose(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "web", "--image=example/web:1", "--replicas=2", "--port=8080")
    await kubectl("set", "image", "deploy/web", "web=example/web:2")
    await kubectl("set", "env", "deploy/web", "A=1")
    await kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    container = (await kubectl.json("get", "deploy", "web"))["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "example/web:2"
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert (await kubectl.json("get", "svc", "web"))["spec"]["clusterIP"].startswith("10.96.")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("configmap", "x", "--from-literal=a=b"), "configmap"),
        (("secret", "generic", "x", "--from-literal=a=b"), "secret"),
        (("serviceaccount", "x"), "serviceaccount"),
        (("deployment", "x", "--image=a"), "deployment"),
        (("service", "clusterip", "x", "--tcp=80:8080"), "service"),
        (("role", "x", "--verb=get", "--resource=pods"), "role"),
        (("rolebinding", "x", "--role=x", "--serviceaccount=default:x"), "rolebinding"),
        (("job", "x", "--image=a"), "job"),
        (("cronjob", "x", "--image=a", "--schedule=* * * * *"), "cronjob"),
        (("ingress", "x", "--rule=a.example/*=web:80"), "ingress"),
        (("quota", "x", "--hard=pods=3"), "quota"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
async def test_create_sends_protobuf(kubectl: Kubectl, command: tuple[str, ...], kind: str) -> None:
    await kubectl("create", *command)
    assert "/x" in await kubectl("get", kind, "x", "-o", "name")


async def test_run_makes_a_pod(kubectl: Kubectl) -> None:
    await kubectl("run", "one", "--image=example/web", "--env=A=1", "--labels=a=b", "--port=80")
    pod = await kubectl.json("get", "pod", "one")
    assert pod["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert pod["metadata"]["labels"] == {"a": "b"}


async def test_create_token_and_who_am_i(kubectl: Kubectl) -> None:
    await until("the default service account", lambda: _ok(kubectl, "get", "sa", "default"))
    token = (await kubectl("create", "token", "default")).strip()
    assert token.count(".") == 2
    said = await kubectl("auth", "whoami")
    assert "kubernetes-admin" in said
    assert "system:masters" in said
    assert (await kubectl("auth", "can-i", "create", "pods")).strip() == "yes"
    assert "*.*" in await kubectl("auth", "can-i", "--list")


async def _ok(kubectl: Kubectl, *words: str) -> bool:
    return (await kubectl.run(*words)).code == 0


async def test_outputs_of_get(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    await kubectl("apply", "-f", "-", input=service())
    await kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    heads, row = (await kubectl("get", "pods")).splitlines()
    assert heads.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[1:4] == ["1/1", "Running", "0"]
    heads, row = (await kubectl("get", "pods", "-o", "wide")).splitlines()
    assert heads.split()[5:7] == ["IP", "NODE"]
    assert row.split()[5].startswith("10.42.1.")
    heads, row = (await kubectl("get", "deploy")).splitlines()
    assert heads.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "1/1", "1", "1"]
    heads, row = (await kubectl("get", "svc")).splitlines()
    assert heads.split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert row.split()[4] == "80/TCP"
    heads, row = (await kubectl("get", "rs")).splitlines()
    assert heads.split() == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    everything = await kubectl("get", "all")
    for kind in ("pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-"):
        assert kind in everything
    assert await kubectl("get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}") == "1"
    assert "apiVersion: apps/v1" in await kubectl("get", "deploy", "web", "-o", "yaml")
    assert (await kubectl("get", "deploy", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas")).split() == [
        "N",
        "R",
        "web",
        "1",
    ]
    assert "app=web" in await kubectl("get", "pods", "--show-labels")
    assert await kubectl("get", "pods", "-A", "--chunk-size=20", "-o", "name")


async def test_get_watch_reports_changes(kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "before")
    process = await kubectl.start("get", "cm", "-w", "--output-watch-events", "--no-headers")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(10):
            while b" before " not in await process.stdout.readline():
                pass
        await kubectl("create", "configmap", "seen", "--from-literal=a=1")
        await kubectl("label", "cm", "seen", "a=b")
        await kubectl("delete", "cm", "seen")
        seen = []
        async with asyncio.timeout(10):
            while len(seen) < 3:
                words = (await process.stdout.readline()).decode().split()
                if words and "seen" in words:
                    seen.append(words[0])
    finally:
        process.kill()
        await process.communicate()
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


async def test_describe_shows_no_gaps(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    await kubectl("apply", "-f", "-", input=service())
    await kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    said = await kubectl("describe", "deploy", "web")
    assert "StrategyType:           RollingUpdate" in said
    assert "25% max unavailable, 25% max surge" in said
    assert "NewReplicaSet:   web-" in said
    assert "Scaled up replica set" in said
    said = await kubectl("describe", "pod", "-l", "app=web")
    assert "Service Account:  default" in said
    assert "Node:             sailcloth" in said
    said = await kubectl("describe", "svc", "web")
    assert "10.42.1." in said
    assert "Session Affinity:" in said
    for kind in ("ns", "node", "rs", "sa", "cm"):
        assert await kubectl("describe", kind)


async def test_rollout_history_undo_restart_pause(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment(image="example/web:1"))
    await kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    await kubectl("set", "image", "deploy/web", "main=example/web:2")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    history = await kubectl("rollout", "history", "deploy/web")
    assert history.splitlines()[2:4] == ["1         <none>", "2         <none>"]
    await kubectl("rollout", "undo", "deploy/web")
    await kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    found = await kubectl.json("get", "deploy", "web")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "example/web:1"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    await kubectl("rollout", "restart", "deploy/web")
    await kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    await kubectl("rollout", "pause", "deploy/web")
    await kubectl("rollout", "resume", "deploy/web")


async def test_a_rollout_that_stands_still_fails(kubectl: Kubectl) -> None:
    stuck = deployment()
    stuck["spec"]["progressDeadlineSeconds"] = 1
    stuck["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such-node"}
    await kubectl("apply", "-f", "-", input=stuck)
    assert "exceeded its progress deadline" in await kubectl.refused("rollout", "status", "deploy/web", "--timeout=15s")


async def test_scale_and_wait(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    await kubectl("scale", "deploy/web", "--replicas=3")
    await kubectl("wait", "deploy/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=15s")
    said = await kubectl.refused("scale", "deploy/web", "--current-replicas=7", "--replicas=1")
    assert "Expected replicas to be 7, was 3" in said
    await kubectl("scale", "deploy/web", "--replicas=0")

    async def none_left() -> bool:
        return not (await kubectl.json("get", "pods"))["items"]

    await until("all pods of the deployment to go", none_left)


async def test_delete_deployment_takes_its_pods(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment())
    await kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    await kubectl("delete", "deploy", "web", "--cascade=foreground", "--timeout=15s")
    assert (await kubectl.json("get", "rs,pods"))["items"] == []


async def test_delete_with_orphans_leaves_them(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    await kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    await kubectl("delete", "deploy", "web", "--cascade=orphan")
    left = (await kubectl.json("get", "rs"))["items"]
    assert len(left) == 1
    assert not left[0]["metadata"].get("ownerReferences")


async def test_delete_waits_for_finalizers(kubectl: Kubectl) -> None:
    held = config(a="1")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await kubectl("apply", "-f", "-", input=held)
    await kubectl("delete", "cm", "settings", "--wait=false")
    assert (await kubectl.json("get", "cm", "settings"))["metadata"]["deletionTimestamp"]
    waiting = await kubectl.start("wait", "--for=delete", "cm/settings", "--timeout=10s")
    await kubectl("patch", "cm", "settings", "--type=json", "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]')
    await asyncio.wait_for(waiting.communicate(), 10)
    assert waiting.returncode == 0


async def test_delete_namespace_takes_everything_in_it(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", input=config(a="1"))
    await kubectl("delete", "ns", kubectl.namespace, "--timeout=15s")
    assert "not found" in await kubectl.refused("get", "ns", kubectl.namespace)
    await kubectl("create", "ns", kubectl.namespace)
    names = {o["metadata"]["name"] for o in (await kubectl.json("get", "cm"))["items"]}
    assert "settings" not in names


async def test_edit_saves(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", input=config(a="before"))
    await kubectl("edit", "cm", "settings", KUBE_EDITOR="sed -i s/before/after/")
    assert (await kubectl.json("get", "cm", "settings"))["data"] == {"a": "after"}


async def test_replace_and_its_conflict(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", input=config(a="1"))
    old = await kubectl.json("get", "cm", "settings")
    await kubectl("replace", "-f", "-", input=config(a="2"))
    assert "object has been modified" in await kubectl.refused("replace", "-f", "-", input={**old, "data": {"a": "3"}})
    assert "AlreadyExists" in await kubectl.refused("create", "-f", "-", input=config(a="4"))


async def test_explain(kubectl: Kubectl) -> None:
    said = await kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "FIELD: maxSurge <IntOrString>" in said
    assert "containers" in await kubectl("explain", "pod.spec")


async def test_api_resources_and_versions(kubectl: Kubectl) -> None:
    said = await kubectl("api-resources")
    for word in ("deploy", "EndpointSlice", "CustomResourceDefinition"):
        assert word in said
    assert "apps/v1" in (await kubectl("api-versions")).split()
    assert "Server Version" in await kubectl("version")
    assert await kubectl("get", "--raw", "/healthz") == "ok"


async def test_events_are_listed(kubectl: Kubectl, node: None) -> None:
    await kubectl("apply", "-f", "-", input=deployment(replicas=1))
    await kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    assert "ScalingReplicaSet" in await kubectl("events")
    heads, *rows = (await kubectl("get", "events")).splitlines()
    assert heads.split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert any("ScalingReplicaSet" in row and "deployment/web" in row for row in rows)


async def test_bad_input_names_every_wrong_path(kubectl: Kubectl) -> None:
    wrong = deployment()
    wrong["spec"]["replicsa"] = 2
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    said = await kubectl.refused("apply", "-f", "-", input=wrong)
    assert 'unknown field "spec.replicsa"' in said
    assert 'unknown field "spec.template.spec.containers[0].imagee"' in said
    result = await kubectl.run("apply", "--validate=warn", "-f", "-", input=wrong)
    assert result.code == 0
    assert 'unknown field "spec.replicsa"' in result.err
    assert "replicsa" not in (await kubectl.json("get", "deploy", "web"))["spec"]


async def test_wrong_types_and_missing_fields(kubectl: Kubectl) -> None:
    wrong = deployment()
    wrong["spec"]["replicas"] = "two"
    assert "spec.replicas" in await kubectl.refused("apply", "-f", "-", input=wrong)
    wrong = deployment()
    wrong["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    assert "`selector` does not match template `labels`" in await kubectl.refused("apply", "-f", "-", input=wrong)
    wrong = service()
    wrong["metadata"]["name"] = "Not_A_Name"
    assert "a DNS-1035 label must" in await kubectl.refused("apply", "-f", "-", input=wrong)
    assert "error" in await kubectl.refused("apply", "-f", "-", input=b"a: [1, 2\nb: }")
    orphan = {**config(a="1"), "metadata": {"name": "x", "namespace": "nowhere"}}
    said = await kubectl.run("-n", "nowhere", "apply", "-f", "-", input=orphan)
    assert said.code == 1
    assert 'namespaces "nowhere" not found' in said.err
