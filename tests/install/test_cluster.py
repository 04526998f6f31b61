"""Install, verify, upgrade and uninstall against an API server whose node pretends to run pods."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.install import apply, check, compare, remove, spec
from sailcloth.install.ownership import MANAGER, RESOURCES, SELECTOR
from sailcloth.install.readiness import Deadline, NotReady
from sailcloth.kube import Client, resources

WAIT = 30.0
ALL = ("default",)
Names = set[tuple[str, str, str]]


def plan(*sets: str) -> spec.Plan:
    return spec.plan(spec.given([], sets))


def quiet(_: str) -> None:
    pass


async def everything(client: Client) -> Names:
    """Objects of all kinds that an installation or its control plane makes."""
    kinds = (*RESOURCES.values(), resources.MUTATING_WEBHOOKS, resources.VALIDATING_WEBHOOKS, resources.SECRETS)
    own = ("kube-root-ca.crt",)  # the cluster's, in every namespace
    return {
        (r.kind, o["metadata"].get("namespace", ""), o["metadata"]["name"])
        for r in kinds
        for o in (await client.list(r))[0]
        if o["metadata"]["name"] not in own
    }


async def test_an_installation_from_its_begin_to_its_end(client: Client, running: None) -> None:
    before = await everything(client)
    told: list[str] = []
    await apply.install(client, plan(), told.append, Deadline(WAIT))
    order = [
        told.index(t)
        for t in ("the mesh's kinds is ready", "injection is ready", "IngressGateways: applied (6 objects)")
    ]
    assert order == sorted(order)
    assert [text for ok, text in await check.lines(client, plan()) if not ok] == []
    assert await apply.installed(client) == {"default": {}}

    assert await compare.changes(client, plan(), force=False) == []
    changed = plan("meshConfig.accessLogFile=/dev/stdout", "components.ingressGateways[0].enabled=false")
    texts = await compare.changes(client, changed, force=False)
    assert any(
        t.startswith("~ ConfigMap istio-system/istio\n") and "+    accessLogFile" in t.replace("      ", "")
        for t in texts
    )
    assert "- Deployment istio-system/istio-ingressgateway" in texts
    await apply.install(client, changed, quiet, Deadline(WAIT))
    assert "accessLogFile" in (await client.get(resources.CONFIGMAPS, "istio", "istio-system"))["data"]["mesh"]
    assert not {n for n in await everything(client) if "ingressgateway" in n[2]}
    assert (await apply.installed(client))["default"]["meshConfig"] == {"accessLogFile": "/dev/stdout"}

    await remove.uninstall(client, ALL, False, quiet, Deadline(WAIT))
    left = await everything(client) - before
    assert {kind for kind, _, _ in left} == {"CustomResourceDefinition"}

    await apply.install(client, changed, quiet, Deadline(WAIT))
    await remove.uninstall(client, ALL, True, quiet, Deadline(WAIT))
    assert await everything(client) == before


async def test_what_users_made_is_counted_before_it_goes(client: Client, running: None) -> None:
    await apply.install(client, plan("profile=minimal"), quiet, Deadline(WAIT))
    entries = resources.Resource("networking.istio.io", "v1", "sidecars", "Sidecar")
    await client.create(entries, {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "a"}})
    assert await remove.users_objects(client) == {"sidecars.networking.istio.io": 1}
    await remove.uninstall(client, ALL, True, quiet, Deadline(WAIT))
    assert (await client.list(resources.CRDS, label_selector=SELECTOR))[0] == []


async def test_others_fields_are_not_taken_over_unasked(client: Client, running: None) -> None:
    wanted = plan("profile=minimal")
    await apply.install(client, wanted, quiet, Deadline(WAIT))
    name, place = "istiod", "istio-system"
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "discovery", "image": "mine"}]}}}}
    await client.patch(resources.DEPLOYMENTS, name, place, patch, type="strategic")
    other = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": place},
        "data": {"mesh": "x: 1"},
    }
    await client.apply(resources.CONFIGMAPS, other, field_manager="somebody")
    with pytest.raises(apply.Conflicts) as error:
        await apply.install(client, wanted, quiet, Deadline(WAIT))
    told = str(error.value)
    assert "ConfigMap istio-system/istio: .data.mesh: conflict with" in told
    assert "somebody" in told
    assert "Deployment istio-system/istiod: .spec.template.spec.containers" in told
    with pytest.raises(apply.Conflicts):
        await compare.changes(client, wanted, force=False)
    await apply.install(client, wanted, quiet, Deadline(WAIT), force=True)
    again = await client.get(resources.CONFIGMAPS, "istio", place)
    assert again["data"]["mesh"].startswith("trustDomain")
    assert {m["manager"] for m in again["metadata"]["managedFields"]} == {MANAGER}


async def test_the_reason_is_told_when_a_pod_does_not_start(client: Client) -> None:
    """No node: the control plane's pod stays as it is."""

    async def stuck() -> dict[str, Any]:
        (pod,), _ = await client.list(resources.PODS, "istio-system")
        return dict(pod["metadata"])

    with pytest.raises(NotReady, match=r"Deployment istio-system/istiod is not ready after 1 s: pod istiod-"):
        await apply.install(client, plan(), quiet, Deadline(1))
    pod = await stuck()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    status = {
        "containerStatuses": [
            {"name": "discovery", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": waiting}
        ]
    }
    await client.patch(resources.PODS, pod["name"], "istio-system", {"status": status}, sub="status")
    reference = {"kind": "Pod", "name": pod["name"], "namespace": "istio-system"}
    event = {"metadata": {"name": "e", "namespace": "istio-system"}, "involvedObject": reference, "type": "Warning"}
    await client.create(resources.EVENTS, {**event, "reason": "Failed", "message": "pull is denied"})
    with pytest.raises(NotReady) as error:
        await apply.install(client, plan(), quiet, Deadline(0.5))
    assert "container discovery: ImagePullBackOff: no such image" in str(error.value)
    assert "event Failed: pull is denied" in str(error.value)
    found = {text for ok, text in await check.lines(client, plan()) if not ok}
    assert any(t.startswith("Pilot: Deployment istio-system/istiod: 0 of 1 pods are ready; pod") for t in found)
    assert "IngressGateways: Service istio-system/istio-ingressgateway: is not there" in found


async def test_anothers_control_plane_keeps_its_webhooks(client: Client) -> None:
    hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    await client.create(resources.MUTATING_WEBHOOKS, {**hook, "metadata": {"name": "istio-sidecar-injector"}})
    gateway = "components.ingressGateways[0]"
    await apply.install(client, plan("profile=empty", f"{gateway}.enabled=true"), quiet, Deadline(0))
    await remove.uninstall(client, ALL, False, quiet, Deadline(WAIT))
    assert await client.get(resources.MUTATING_WEBHOOKS, "istio-sidecar-injector")
    assert not {n for n in await everything(client) if "ingressgateway" in n[2]}


async def test_without_waiting(client: Client) -> None:
    await apply.install(client, plan(), quiet, Deadline(0))
    assert any(n[2] == "istio-ingressgateway" for n in await everything(client))


async def test_a_first_dry_run_changes_nothing(client: Client) -> None:
    before = await everything(client)
    texts = await compare.changes(client, plan(), force=False)
    assert "+ Deployment istio-system/istiod" in texts
    assert await everything(client) == before


async def test_a_revision_beside_another_one(client: Client, running: None) -> None:
    """A canary comes, takes over what all have in common, and goes again; then the old one goes."""
    before = await everything(client)
    await apply.install(client, plan(), quiet, Deadline(WAIT))
    old = await everything(client)
    told: list[str] = []
    canary = plan("revision=canary", "global.tag=next")
    await apply.install(client, canary, told.append, Deadline(WAIT))
    assert "Deployment istio-system/istiod-canary is ready" in told
    assert not any("tag default" in line for line in told), told
    new = await everything(client) - old
    assert {n for n in new if n[0] == "Deployment"} == {("Deployment", "istio-system", "istiod-canary")}
    assert all("canary" in n[2] for n in new if n[0] not in ("Pod", "ReplicaSet", "EndpointSlice")), new
    assert old <= await everything(client)
    assert sorted(await apply.installed(client)) == ["canary", "default"]
    assert [text for ok, text in await check.lines(client, canary) if not ok] == []
    gateway = await client.get(resources.DEPLOYMENTS, "istio-ingressgateway", "istio-system")
    assert gateway["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] == "canary"

    await apply.install(client, plan(), quiet, Deadline(WAIT))  # the gateway goes back
    await remove.uninstall(client, ("canary",), False, quiet, Deadline(WAIT))
    assert await everything(client) == old
    gateway = await client.get(resources.DEPLOYMENTS, "istio-ingressgateway", "istio-system")
    assert "istio.io/rev" not in gateway["spec"]["template"]["metadata"]["labels"]

    await apply.install(client, canary, quiet, Deadline(WAIT))
    await remove.uninstall(client, ("default",), False, quiet, Deadline(WAIT))
    kept = {n[:3:2] for n in await everything(client)}
    shared = {("IngressClass", "istio"), ("Deployment", "istio-ingressgateway"), ("ConfigMap", "istio-ca-root-cert")}
    assert shared | {("Deployment", "istiod-canary")} <= kept
    assert not {("ConfigMap", "istio"), ("Deployment", "istiod"), ("Lease", "sailcloth-leader")} & kept
    await remove.uninstall(client, ("canary",), True, quiet, Deadline(WAIT))
    assert await everything(client) == before


async def test_the_first_revision_has_what_names_none(client: Client, running: None) -> None:
    told: list[str] = []
    await apply.install(client, plan("profile=minimal", "revision=1-0"), told.append, Deadline(WAIT))
    assert "the tag default stands for the revision 1-0" in told
    tag = await client.get(resources.MUTATING_WEBHOOKS, "istio-revision-tag-default")
    assert tag["metadata"]["labels"]["istio.io/rev"] == "1-0"
    selectors = [w["namespaceSelector"]["matchExpressions"][0] for w in tag["webhooks"]]
    assert {"key": "istio-injection", "operator": "In", "values": ["enabled"]} in selectors
    await remove.uninstall(client, ("1-0",), True, quiet, Deadline(WAIT))
    assert (await client.list(resources.MUTATING_WEBHOOKS))[0] == []
