"""Admission webhooks: what they change and refuse, and that odd ones harm nobody but those who ask for them."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.local.apiserver.auth import pki

from .cluster import Server
from .test_requests import settings

Object = dict[str, Any]


class Hooks:
    """Webhooks over HTTPS on loopback, with a certificate from the cluster's own authority."""

    def __init__(self) -> None:
        self.seen: list[Object] = []
        self.answer: Any = {}
        self.connections: set[asyncio.Transport] = set()

    @web.middleware
    async def note(self, request: web.Request, handler: Any) -> Any:
        assert isinstance(request.transport, asyncio.Transport)
        self.connections.add(request.transport)
        return await handler(request)

    async def odd(self, request: web.Request) -> web.Response:
        """Answers what the test put into `answer`, or sends the caller on."""
        if isinstance(self.answer, str):
            raise web.HTTPTemporaryRedirect(self.answer)
        return web.json_response(self.answer)

    async def mutate(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.seen.append(review["request"])
        patch = [{"op": "add", "path": "/data/added", "value": "yes"}]
        answer = {"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch"}
        answer["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})

    async def refuse(self, request: web.Request) -> web.Response:
        review = await request.json()
        allowed = (review["request"]["object"].get("data") or {}).get("bad") is None
        answer = {"uid": review["request"]["uid"], "allowed": allowed, "status": {"message": "that is bad"}}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})


@pytest.fixture
async def hooks(server: Server) -> AsyncIterator[tuple[Hooks, str, str]]:
    """(the hooks, their URL, the certificate to trust in base64)."""
    certificates = pki.load(server.root / "pki")
    pem = server.root / "hook.pem"
    pem.write_bytes(certificates.server.certificate + certificates.server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    made = Hooks()
    app = web.Application(middlewares=[made.note])
    app.router.add_post("/mutate", made.mutate)
    app.router.add_post("/refuse", made.refuse)
    app.router.add_post("/odd", made.odd)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield made, f"https://{host}:{port}", base64.b64encode(certificates.ca.certificate).decode()
    for connection in made.connections:
        connection.abort()  # the API server keeps its connections open
    await runner.cleanup()
    for _ in range(3):
        await asyncio.sleep(0)


def webhook(name: str, url: str, bundle: str, namespace: str, policy: str = "Fail") -> Object:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}
    return {
        "metadata": {"name": f"{name}-{namespace}"},
        "webhooks": [
            {
                "name": f"{name}.example.com",
                "clientConfig": {"url": url, "caBundle": bundle},
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": policy,
                "timeoutSeconds": 2,
            }
        ],
    }


async def test_webhooks_change_and_refuse(client: Client, namespace: str, hooks: tuple[Hooks, str, str]) -> None:
    made, url, bundle = hooks
    await client.create(resources.MUTATING_WEBHOOKS, webhook("m", f"{url}/mutate", bundle, namespace))
    await client.create(resources.VALIDATING_WEBHOOKS, webhook("v", f"{url}/refuse", bundle, namespace))
    try:
        obj = await client.create(resources.CONFIGMAPS, {**settings("one", namespace), "data": {"a": "b"}})
        assert obj["data"] == {"a": "b", "added": "yes"}
        assert made.seen[0]["operation"] == "CREATE"
        assert made.seen[0]["userInfo"]["username"] == "kubernetes-admin"
        with pytest.raises(ApiError, match=r'admission webhook "v.example.com" denied the request: that is bad'):
            await client.create(resources.CONFIGMAPS, {**settings("two", namespace), "data": {"bad": "yes"}})
        obj = await client.create(
            resources.CONFIGMAPS, {**settings("three", namespace, skip="me"), "data": {"bad": "1"}}
        )
        assert "added" not in obj["data"]
    finally:
        await client.delete(resources.MUTATING_WEBHOOKS, f"m-{namespace}")
        await client.delete(resources.VALIDATING_WEBHOOKS, f"v-{namespace}")


async def test_a_webhook_that_cannot_be_trusted_fails_by_its_policy(
    client: Client, namespace: str, hooks: tuple[Hooks, str, str], tmp_path: Path
) -> None:
    _, url, _ = hooks
    foreign = base64.b64encode(pki.load(tmp_path / "other").ca.certificate).decode()
    await client.create(resources.MUTATING_WEBHOOKS, webhook("m", f"{url}/mutate", foreign, namespace))
    try:
        with pytest.raises(ApiError, match=r'failed calling webhook "m.example.com"'):
            await client.create(resources.CONFIGMAPS, settings("one", namespace))
    finally:
        await client.delete(resources.MUTATING_WEBHOOKS, f"m-{namespace}")
    await client.create(resources.MUTATING_WEBHOOKS, webhook("m", f"{url}/mutate", foreign, namespace, "Ignore"))
    try:
        await client.create(resources.CONFIGMAPS, settings("one", namespace))
    finally:
        await client.delete(resources.MUTATING_WEBHOOKS, f"m-{namespace}")


REPLACED = base64.b64encode(b'[{"op": "replace", "path": "", "value": []}]').decode()


@pytest.mark.parametrize(
    "odd",
    [
        [], {}, {"response": []}, {"response": {"allowed": "yes"}}, {"response": {"allowed": True, "warnings": 5}},
        {"response": {"allowed": False, "status": "no"}}, {"response": {"allowed": False, "status": {"code": "x"}}},
        {"response": {"allowed": True, "patch": 5}}, "/mutate",
    ],
    ids=str,
)  # fmt: skip
async def test_a_webhooks_odd_answer_is_a_failure_of_it(
    client: Client, namespace: str, hooks: tuple[Hooks, str, str], odd: Any
) -> None:
    made, url, bundle = hooks
    made.answer = odd
    for policy in ("Fail", "Ignore"):
        await client.create(resources.MUTATING_WEBHOOKS, webhook("o", f"{url}/odd", bundle, namespace, policy))
        try:
            if policy == "Fail":
                with pytest.raises(ApiError, match=r'failed calling webhook "o.example.com"'):
                    await client.create(resources.CONFIGMAPS, settings("one", namespace))
            else:
                await client.create(resources.CONFIGMAPS, settings("one", namespace))
        finally:
            await client.delete(resources.MUTATING_WEBHOOKS, f"o-{namespace}")
    assert made.seen == []


async def test_a_webhook_leaves_an_object(client: Client, namespace: str, hooks: tuple[Hooks, str, str]) -> None:
    made, url, bundle = hooks
    made.answer = {"response": {"allowed": True, "patchType": "JSONPatch", "patch": REPLACED}}
    await client.create(resources.MUTATING_WEBHOOKS, webhook("o", f"{url}/odd", bundle, namespace))
    try:
        with pytest.raises(ApiError, match="it leaves no object with metadata"):
            await client.create(resources.CONFIGMAPS, settings("one", namespace))
    finally:
        await client.delete(resources.MUTATING_WEBHOOKS, f"o-{namespace}")
