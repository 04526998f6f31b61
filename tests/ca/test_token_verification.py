"""Whose certificate it is: a service-account token, reviewed over HTTP, becomes an identity with attested attributes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.controlplane.identity import Verifier
from sailcloth.kube.client import Client
from sailcloth.kube.config import Endpoint
from sailcloth.mesh.registry import Mesh

POD = "authentication.kubernetes.io/pod-name"


def authenticated(username: str = "system:serviceaccount:default:reviews", **status: Any) -> dict[str, Any]:
    user = {"username": username, "extra": {POD: ["reviews-v1-5d8c-x2x4z"]}}
    return {"authenticated": True, "audiences": ["istio-ca"], "user": user, **status}


class ApiServer:
    """Answers TokenReviews with `status`, or refuses them with an HTTP status."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | int = authenticated()
        self.reviews: list[dict[str, Any]] = []

    async def review(self, request: web.Request) -> web.Response:
        self.reviews.append((await request.json())["spec"])
        if isinstance(self.status, int):
            return web.json_response({"message": "no"}, status=self.status)
        return web.json_response({"status": self.status})


@pytest.fixture
async def api() -> AsyncIterator[tuple[ApiServer, Client]]:
    server = ApiServer()
    app = web.Application()
    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", server.review)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with asyncio.timeout(20), Client(Endpoint(f"http://{host}:{port}", None)) as client:
        yield server, client
    await runner.cleanup()


def mesh(**labels: str) -> Mesh:
    """A mesh with one pod of a Deployment, and a service that selects it."""
    found = Mesh()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1-5d8c", "uid": "u", "controller": True}
    pod = {
        "metadata": {
            "name": "reviews-v1-5d8c-x2x4z",
            "namespace": "default",
            "labels": {"app": "reviews", "version": "v1", "pod-template-hash": "5d8c", **labels},
            "ownerReferences": [owner],
        },
        "spec": {"serviceAccountName": "reviews"},
    }
    service = {
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"selector": {"app": "reviews"}, "ports": [{"port": 9080}]},
    }
    found.apply(Key("Pod", "default", "reviews-v1-5d8c-x2x4z"), msgspec.convert(pod, core.Pod, strict=False))
    found.apply(Key("Service", "default", "reviews"), msgspec.convert(service, core.Service, strict=False))
    return found


async def test_the_identity_is_the_tokens_and_its_attributes_are_the_pods(api: tuple[ApiServer, Client]) -> None:
    server, client = api
    identity = await Verifier(client, mesh()).identity("a-token")
    assert identity.uri == "spiffe://cluster.local/ns/default/sa/reviews"
    assert (identity.workload, identity.app, identity.version) == ("reviews-v1", "reviews", "v1")
    assert server.reviews == [{"token": "a-token", "audiences": ["istio-ca"]}]


async def test_canonical_labels_stand_beside_app_and_version(api: tuple[ApiServer, Client]) -> None:
    canonical = {"service.istio.io/canonical-name": "ratings", "service.istio.io/canonical-revision": "latest"}
    identity = await Verifier(api[1], mesh(**canonical)).identity("a-token")
    assert (identity.app, identity.version) == ("reviews", "v1")
    assert (identity.canonical_service, identity.canonical_revision) == ("ratings", "latest")


async def test_a_pod_that_is_not_known_attests_nothing(api: tuple[ApiServer, Client]) -> None:
    identity = await Verifier(api[1], Mesh()).identity("a-token")
    assert identity.uri.endswith("/ns/default/sa/reviews")
    assert (identity.workload, identity.app, identity.version) == ("", "", "")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"authenticated": False, "error": "token expired"}, "token expired"),
        ({}, "not authenticated"),
        (authenticated(audiences=["https://kubernetes.default.svc"]), "not for the audience istio-ca"),
        (authenticated("jane"), "not a service account's: its user is jane"),
        (authenticated("system:serviceaccount:default"), "not a service account's"),
        (authenticated(""), "its user is empty"),
        (403, "could not be verified"),
    ],
)
async def test_refused(api: tuple[ApiServer, Client], status: dict[str, Any] | int, reason: str) -> None:
    server, client = api
    server.status = status
    with pytest.raises(PermissionError, match=reason) as refused:
        await Verifier(client, mesh()).identity("a-secret-token")
    assert "a-secret-token" not in str(refused.value)


async def test_no_token_is_refused_without_asking(api: tuple[ApiServer, Client]) -> None:
    server, client = api
    with pytest.raises(PermissionError, match="no service-account token"):
        await Verifier(client, mesh()).identity("")
    assert server.reviews == []
