"""Who gets a certificate, by tokens of a real API server: one that is bound to what is gone proves nothing, from that moment on."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from sailcloth.agent.certificate_options import CertificateOptions
from sailcloth.agent.identity import WorkloadIdentity, shared
from sailcloth.ca.authority import Authority
from sailcloth.ca.service import CertificateService
from sailcloth.controlplane.identity import AUDIENCE, Verifier
from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import PODS, SERVICEACCOUNTS
from sailcloth.mesh.registry import Mesh

from ..agent.certificate_authority import OneAuthority, serve
from ..apiserver.cluster import Server

NAMESPACE = "default"
POD = {
    "metadata": {"name": "reviews"},
    "spec": {"serviceAccountName": "reviews", "containers": [{"name": "a", "image": "a"}]},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("tokens"))
    one.start()
    yield one
    one.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with server.client() as one:
        yield one
        for resource, name in ((PODS, "reviews"), (SERVICEACCOUNTS, "reviews")):
            with contextlib.suppress(ApiError):
                await one.delete(resource, name, NAMESPACE, grace=0)


@pytest.fixture
async def verifier(client: Client) -> Verifier:
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "reviews", "namespace": NAMESPACE}})
    return Verifier(client, Mesh())


@contextlib.asynccontextmanager
async def asking(verifier: Verifier, token: str) -> AsyncIterator[tuple[WorkloadIdentity, CertificateService]]:
    service = CertificateService(OneAuthority(Authority.create()), verifier.identity, dt.timedelta(hours=1))

    async def current() -> str:
        return token

    async with serve(service.methods()) as channel:
        yield WorkloadIdentity(shared(lambda: channel), current, name="reviews", options=CertificateOptions()), service


async def refusal(identity: WorkloadIdentity) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await identity.fetch()
    assert refused.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    return str(refused.value.details())


async def pod(client: Client) -> dict[str, object]:
    created = await client.create(PODS, {**POD, "metadata": {**POD["metadata"], "namespace": NAMESPACE}})  # type: ignore[dict-item]
    return created


async def test_a_token_of_a_deleted_pod_is_refused_at_once(client: Client, verifier: Verifier) -> None:
    token = await client.create_token("reviews", NAMESPACE, [AUDIENCE], 3600, await pod(client))
    async with asking(verifier, token) as (identity, service):
        assert (await identity.fetch()).not_after > 0
        await client.delete(PODS, "reviews", NAMESPACE, grace=0)
        assert "pod that the token is bound to no longer exists" in await refusal(identity)
        await pod(client)  # of the same name, but another
        assert "no longer exists" in await refusal(identity)
        assert service.counts["authentication_failure_count"] == 2
        assert service.counts["csr_count"] == 3
        assert service.counts["success_cert_issuance_count"] == 1
    with pytest.raises(PermissionError, match="no longer exists"):
        await verifier.caller(token, fresh=True)  # as for a discovery stream


async def test_a_token_of_a_deleted_account_is_refused_at_once(client: Client, verifier: Verifier) -> None:
    token = await client.create_token("reviews", NAMESPACE, [AUDIENCE], 3600)
    async with asking(verifier, token) as (identity, _):
        assert await identity.fetch()
        await client.delete(SERVICEACCOUNTS, "reviews", NAMESPACE)
        assert "service account no longer exists" in await refusal(identity)
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "reviews", "namespace": NAMESPACE}})
        assert "service account no longer exists" in await refusal(identity)


async def test_a_token_for_another_audience_is_refused(client: Client, verifier: Verifier) -> None:
    for audiences in ([], ["https://elsewhere"]):
        token = await client.create_token("reviews", NAMESPACE, audiences, 3600)
        async with asking(verifier, token) as (identity, _):
            assert "audience" in await refusal(identity)


async def test_a_workload_that_asks_too_often_waits(client: Client, verifier: Verifier) -> None:
    token = await client.create_token("reviews", NAMESPACE, [AUDIENCE], 3600)
    async with asking(verifier, token) as (identity, service):
        # All at once: on a slow machine some more are signed meanwhile, four a second.
        answers = await asyncio.gather(*(identity.fetch() for _ in range(80)), return_exceptions=True)
        refused = [a for a in answers if isinstance(a, grpc.aio.AioRpcError)]
        assert refused
        assert all("too often" in str(error.details()) for error in refused)
        assert service.counts["rate_limited_count"] == len(refused)
        assert 20 <= service.counts["success_cert_issuance_count"] == 80 - len(refused)
