"""A workload's key and certificate: fetched from a real certificate authority over gRPC, renewed, and never shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sailcloth.agent.certificate_options import CertificateOptions
from sailcloth.agent.identity import WorkloadIdentity, shared
from sailcloth.ca.authority import Authority
from sailcloth.ca.service import SERVICE, CertificateResponse
from sailcloth.lib.grpc_server import Call

from .certificate_authority import REVIEWS, TOKEN, certificate_service, current_token, serve, workload_identity


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


async def test_the_certificate_has_the_verified_name_and_the_key_in_memory() -> None:
    authority = Authority.create()
    async with serve(certificate_service(authority).methods()) as channel, workload_identity(channel) as identity:
        secret = await identity.wait_for_version_after(0)
    leaf = x509.load_pem_x509_certificate(secret.chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [REVIEWS.uri]
    key = serialization.load_pem_private_key(secret.key, None)
    assert key.public_key() == leaf.public_key()
    assert secret.roots == authority.certificate_pem
    assert secret.not_before < secret.not_after
    assert "PRIVATE" not in repr(secret)
    assert "CERTIFICATE" not in repr(secret)


async def test_a_certificate_is_renewed_with_a_new_key_before_it_expires() -> None:
    service = certificate_service(Authority.create(), lifetime_s=1)
    async with serve(service.methods()) as channel, workload_identity(channel) as identity:
        first = await identity.wait_for_version_after(0)
        second = await identity.wait_for_version_after(identity.version)
    assert second.key != first.key
    assert second.chain != first.chain
    assert second.not_after >= first.not_after
    assert service.counts["success_cert_issuance_count"] >= 2


async def test_a_refused_token_is_tried_again_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    tokens = iter(["stolen-token", TOKEN])

    async def token() -> str:
        return next(tokens)

    service = certificate_service(Authority.create())
    with caplog.at_level(logging.INFO):
        async with serve(service.methods()) as channel, workload_identity(channel, token) as identity:
            await identity.wait_for_version_after(0)
    assert (service.counts["authentication_failure_count"], service.counts["success_cert_issuance_count"]) == (1, 1)
    assert "UNAUTHENTICATED: the token is not valid" in caplog.text
    assert "stolen-token" not in caplog.text


async def test_a_chain_without_a_root_is_refused() -> None:
    async def create(_body: bytes, _call: Call) -> bytes:
        return bytes(CertificateResponse(cert_chain=["only a leaf"]).SerializeToString())

    async with serve({f"/{SERVICE}/CreateCertificate": create}) as channel:
        identity = WorkloadIdentity(shared(lambda: channel), current_token, name="reviews")
        with pytest.raises(ValueError, match="no certificate chain"):
            await identity.fetch()


async def test_the_requested_lifetime_is_granted_up_to_the_authoritys_own() -> None:
    service = certificate_service(Authority.create(), lifetime_s=300, longest_s=600)
    async with serve(service.methods()) as channel:
        for requested_s, granted_s in ((0, 300), (60, 60), (7200, 600)):
            identity = WorkloadIdentity(
                shared(lambda: channel),
                current_token,
                name="reviews",
                options=CertificateOptions(lifetime_s=requested_s),
            )
            secret = await identity.fetch()
            backdated_s = min(120, granted_s)
            assert secret.not_after - secret.not_before == pytest.approx(granted_s + backdated_s, abs=1)


async def test_when_the_certificate_and_the_roots_end_is_a_metric() -> None:
    methods = certificate_service(Authority.create(), lifetime_s=600).methods()
    async with serve(methods) as channel, workload_identity(channel) as identity:
        assert identity.metrics(0.0) == ""
        secret = await identity.wait_for_version_after(0)
        text = identity.metrics(secret.not_after - 600)
    assert text.startswith("# TYPE istio_agent_cert_expiry_seconds gauge\n")
    values = {line.split()[0]: float(line.split()[1]) for line in text.splitlines()[1:]}
    assert values['istio_agent_cert_expiry_seconds{resource_name="default"}'] == pytest.approx(600)
    assert values['istio_agent_cert_expiry_seconds{resource_name="ROOTCA"}'] > 3600 * 24 * 3000


async def test_close_forgets_the_secret() -> None:
    async with serve(certificate_service(Authority.create()).methods()) as channel:
        async with workload_identity(channel) as identity:
            await identity.wait_for_version_after(0)
        assert identity.secret is None
