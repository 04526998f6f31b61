"""An API server of each test's own, with a node that pretends to run pods and a control plane that pretends to have started."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from sailcloth.api.revision import suffixed
from sailcloth.kube import ApiError, Client, resources
from tests.apiserver.cluster import Pretender, Server


@pytest.fixture
def server(tmp_path: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path)  # type: ignore[arg-type]
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with server.client() as made:
        yield made


_HOOK = {
    "name": "no.pod.sailcloth.io",
    "clientConfig": {"url": "https://127.0.0.1:1"},
    "namespaceSelector": {"matchLabels": {"never": "there"}},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}


async def _control_plane(client: Client) -> None:
    """What a control plane makes when its pod is there, as far as an installation looks at it."""
    while True:
        pods, _ = await client.list(resources.PODS, "istio-system", "app=istiod")
        for revision in {p["metadata"]["labels"]["istio.io/rev"] for p in pods}:
            labels = {"istio.io/config": "true"}
            head = {"metadata": {"name": "istio-ca-root-cert", "labels": labels}, "data": {"root-cert.pem": "x"}}
            for resource, app, name in (
                (resources.MUTATING_WEBHOOKS, "sidecar-injector", suffixed("istio-sidecar-injector", revision)),
                (resources.VALIDATING_WEBHOOKS, "istiod", suffixed("istio-validator", revision, "-istio-system")),
            ):
                made_by_it = {
                    "apiVersion": resource.api_version,
                    "kind": resource.kind,
                    "metadata": {"name": name, "labels": {"app": app, "istio.io/rev": revision}},
                    "webhooks": [_HOOK],
                }
                await client.apply(resource, made_by_it, field_manager="istiod")
            for namespace in ("default", "istio-system"):
                made = {**head, "metadata": {**head["metadata"], "namespace": namespace}}  # type: ignore[dict-item]
                with contextlib.suppress(ApiError):
                    await client.create(resources.CONFIGMAPS, made)
        await asyncio.sleep(0.1)


@pytest.fixture
async def running(client: Client) -> AsyncIterator[None]:
    """Pods get ready, and the control plane's does its work."""
    tasks = [asyncio.create_task(Pretender(client).run()), asyncio.create_task(_control_plane(client))]
    yield
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
