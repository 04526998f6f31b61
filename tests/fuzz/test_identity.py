"""Certificate requests, tokens, and the files of a plugged-in CA."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.ca import csr, plugged_in
from sailcloth.ca.service import SERVICE, bearer
from sailcloth.local.apiserver.auth.service_account_tokens import InvalidToken, TokenIssuer

from ..agent.certificate_authority import REVIEWS, TOKEN, certificate_service, serve
from ..authorities import Authority
from ..ca import test_authority
from . import JSON, TIMES, fuzzed, mutated, replaced

REQUEST = test_authority.csr([REVIEWS.uri])
DER = x509.load_pem_x509_csr(REQUEST).public_bytes(serialization.Encoding.DER)
ROOT = Authority("root")
FILES = Authority("ours", ROOT).secret(revoked=ROOT.revoke(1))
NOW = dt.datetime.now(dt.UTC)
ISSUER = TokenIssuer(Authority("tokens").key_pem)
VALID, _ = ISSUER.issue("default", "reviews", "uid", ["istio-ca"], 600)


def armoured(der: bytes) -> bytes:
    text = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + text + b"-----END CERTIFICATE REQUEST-----\n"


@fuzzed
@given(st.one_of(st.binary(max_size=400), mutated(REQUEST), mutated(DER).map(armoured)))
def test_a_certificate_request_is_signed_or_refused(data: bytes) -> None:
    with contextlib.suppress(csr.CsrRefused):
        csr.public_key(data, REVIEWS.uri)


@fuzzed
@given(st.one_of(st.text(max_size=60), mutated(VALID.encode()).map(lambda b: b.decode("latin-1"))))
def test_a_token_that_was_not_issued_proves_nothing(token: str) -> None:
    if token != VALID:
        with pytest.raises(InvalidToken):
            ISSUER.verify(token)


@fuzzed
@given(JSON, JSON, st.binary(max_size=70))
def test_parts_of_a_token_may_be_any_json(head: object, claims: object, signature: bytes) -> None:
    parts = [json.dumps(p).encode() for p in (head, claims)] + [signature]
    token = b".".join(base64.urlsafe_b64encode(p).rstrip(b"=") for p in parts).decode()
    with pytest.raises(InvalidToken):
        ISSUER.verify(token)


@fuzzed
@given(st.text(max_size=40))
def test_any_header_is_a_token_or_none(text: str) -> None:
    assert isinstance(bearer({"authorization": text}), str)


@fuzzed
@given(st.sampled_from(sorted(FILES)).flatmap(lambda n: st.tuples(st.just(n), mutated(FILES[n]))))
def test_a_plugged_in_ca_is_used_or_refused(change: tuple[str, bytes]) -> None:
    files = {**FILES, change[0]: change[1]}
    with contextlib.suppress(plugged_in.InvalidCa):
        plugged_in.load(files, NOW)
    with contextlib.suppress(plugged_in.InvalidCa):
        plugged_in.revoked(files)


def test_any_message_to_the_ca_is_answered_by_its_protocol() -> None:
    """Over gRPC, by callers with a token and without."""
    known = (
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    valid = b"\x0a" + bytes((len(REQUEST) & 0x7F | 0x80, len(REQUEST) >> 7)) + REQUEST
    examples: list[tuple[bytes, str]] = []

    @fuzzed
    @given(st.one_of(st.binary(max_size=100), mutated(valid)), st.sampled_from((TOKEN, "", "x" * 5000, "\x7f")))
    def collect(body: bytes, token: str) -> None:
        examples.append((body, token))

    collect()

    async def ask() -> None:
        service = certificate_service(test_authority.Authority.create())
        async with serve(service.methods()) as channel:
            call = channel.unary_unary(f"/{SERVICE}/CreateCertificate")
            for body, token in examples:
                metadata = (("authorization", f"Bearer {token}"),) if token.isprintable() else ()
                asked = call(body, metadata=metadata, timeout=10)
                assert await asked.code() in known, (body, await asked.details())
        assert service.counts["csr_count"] == len(examples)

    asyncio.run(asyncio.wait_for(ask(), 60 * TIMES))


@fuzzed
@given(replaced({"aud": ["istio-ca"], "exp": 1, "kubernetes.io": {"namespace": "a", "serviceaccount": {"name": "b"}}}))
def test_claims_that_are_signed_may_be_any_json(claims: object) -> None:
    """As by an issuer that has a fault."""
    signed = _signed(claims)
    with contextlib.suppress(InvalidToken):
        assert isinstance(ISSUER.verify(signed), dict)


def _signed(claims: object) -> str:
    head = {"alg": "ES256"}
    text = b".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (head, claims))
    key = ISSUER._key
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    signature = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=")
    return (text + b"." + signature).decode()
