"""The Gateway API's definitions that ship with the local cluster: valid, served, and the user's once installed."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource
from sailcloth.local.apiserver.kinds.apiextensions import CUSTOM_RESOURCE_DEFINITION
from sailcloth.local.apiserver.schemas import structural
from sailcloth.local.controllers import gateway_api

from .cluster import KUBECTL, Kubectl, Server

GROUP = "gateway.networking.k8s.io"
CLASSES = Resource(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
KINDS = {"backendtlspolicies", "gatewayclasses", "gateways", "grpcroutes", "httproutes", "listenersets", "referencegrants", "tcproutes", "tlsroutes", "udproutes"}  # fmt: skip


@pytest.fixture
async def gateway_server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path, gateway_api=True)
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_all_of_the_standard_channel_ship() -> None:
    assert {d["spec"]["names"]["plural"] for d in gateway_api.definitions()} == KINDS


@pytest.mark.parametrize("definition", gateway_api.definitions(), ids=lambda d: d["spec"]["names"]["kind"])
def test_they_are_valid(definition: dict[str, Any]) -> None:
    """They are stored without being validated, since that takes a third of a second."""
    definition = copy.deepcopy(definition)
    CUSTOM_RESOURCE_DEFINITION.apply_defaults(definition)
    assert not structural.definition_errors(definition, None)


async def test_they_are_served_at_once(gateway_server: Server) -> None:
    async with gateway_server.client() as client:
        for kind in KINDS:
            crd = await client.get(resources.CRDS, f"{kind}.{GROUP}")
            conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
            assert conditions == {"NamesAccepted": "True", "Established": "True"}
            assert crd["status"]["storedVersions"]
        obj = {"metadata": {"name": "c"}, "spec": {"controllerName": "example.com/controller"}}
        made = await client.create(CLASSES, obj)
        assert made["status"]["conditions"][0]["reason"] == "Pending", "defaults of the schema"
        with pytest.raises(ApiError, match="Invalid value"):
            await client.create(CLASSES, {"metadata": {"name": "d"}, "spec": {"controllerName": "nonsense"}})
        with pytest.raises(ApiError, match=r"unknown field|Required value") as caught:
            await client.create(CLASSES, {"metadata": {"name": "e"}, "spec": {"unknown": 1}})
        assert caught.value.status == 422


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
@pytest.mark.parametrize("how", [("apply", "--server-side"), ("apply",), ("replace",)], ids=" ".join)
async def test_users_may_apply_theirs_over_them(gateway_server: Server, how: tuple[str, ...]) -> None:
    kubectl = Kubectl(gateway_server, "default")
    theirs = copy.deepcopy(next(d for d in gateway_api.definitions() if d["spec"]["names"]["kind"] == "TCPRoute"))
    theirs["metadata"]["annotations"]["gateway.networking.k8s.io/channel"] = "experimental"
    theirs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] = {
        "type": "string"
    }
    await kubectl(*how, "-f", "-", input=json.loads(json.dumps(theirs)))
    crd = await kubectl.json("get", "crd", f"tcproutes.{GROUP}")
    assert crd["metadata"]["annotations"]["gateway.networking.k8s.io/channel"] == "experimental"
    assert "more" in crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


async def test_what_users_change_or_delete_stays_so_after_a_restart(gateway_server: Server) -> None:
    async with gateway_server.client() as client:
        await client.delete(resources.CRDS, f"udproutes.{GROUP}")
        await client.patch(resources.CRDS, f"tcproutes.{GROUP}", "", {"metadata": {"labels": {"mine": "yes"}}})
    gateway_server.end()
    gateway_server.start()
    async with gateway_server.client() as client:
        await _gone(client, f"udproutes.{GROUP}")
        crd = await client.get(resources.CRDS, f"tcproutes.{GROUP}")
        assert crd["metadata"]["labels"] == {"mine": "yes"}


async def _gone(client: Client, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        await client.get(resources.CRDS, name)
    assert caught.value.status == 404
