"""The gRPC service istio.v1.auth.IstioCertificateService: a CSR in, a certificate chain out, for callers whose
service-account token was verified.

Messages (Istio's security/v1alpha1/ca.proto): request csr=1 string, validity_duration=3 int64 seconds; response
cert_chain=1 repeated string, leaf first and root last.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from sailcloth.lib.grpc_server import Abort, Call, Status, Unary
from sailcloth.lib.token_buckets import TokenBuckets

from .authority import MAX_LIFETIME, Authority, CaExpired, Identity
from .csr import CsrMalformed, CsrRefused

log = logging.getLogger(__name__)

SERVICE = "istio.v1.auth.IstioCertificateService"
DEFAULT_LIFETIME = dt.timedelta(hours=24)
METRICS = {
    "csr_count": "Certificate requests.",
    "csr_parsing_err_count": "Requests that are no certificate request.",
    "csr_sign_err_count": "Requests that were not signed.",
    "authentication_failure_count": "Requests of callers that did not prove who they are.",
    "id_extraction_err_count": "Requests whose names could not be read; no name is read from a request.",
    "rate_limited_count": "Requests of workloads that asked too often.",
    "success_cert_issuance_count": "Certificates that were signed.",
}
"""By the name in `counts`, what is counted. The names are Istio's, `rate_limited_count` ours."""
_PER_SECOND, _AT_ONCE = 4.0, 20  # requests of one workload; it needs one in half of a certificate's lifetime

Verify = Callable[[str], Awaitable[Identity]]
"""Turns a bearer token into an identity; raises PermissionError with a reason fit to show."""


def _messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sailcloth/ca.proto", package="istio.v1.auth", syntax="proto3")
    kind, label = descriptor_pb2.FieldDescriptorProto, descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=kind.TYPE_STRING, label=label.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=kind.TYPE_INT64, label=label.LABEL_OPTIONAL)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=kind.TYPE_STRING, label=label.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("IstioCertificateRequest", "IstioCertificateResponse")
    items = [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"istio.v1.auth.{n}")) for n in names]
    return items[0], items[1]


CertificateRequest, CertificateResponse = _messages()


class Issuer(Protocol):
    """Who signs now."""

    @property
    def authority(self) -> Authority | None:
        """The CA; None while proxies do not trust the one whose key is at hand."""

    @property
    def bundle(self) -> bytes:
        """PEM of all roots that proxies are to trust."""

    def issued(self, until: dt.datetime) -> None:
        """A certificate was signed that ends then."""


class CertificateService:
    """Signs for verified callers. Refusals are logged with the reason, never with the token or the request.

    lifetime: of a certificate for which none is asked; longest: what is granted at most (Istio's DEFAULT_WORKLOAD_CERT_TTL and
    MAX_WORKLOAD_CERT_TTL, except that a longer one is cut where Istio refuses it). `counts` has Istio's metrics `citadel_server_*`.
    """

    def __init__(
        self,
        issuer: Issuer,
        verify: Verify,
        lifetime: dt.timedelta = DEFAULT_LIFETIME,
        longest: dt.timedelta = MAX_LIFETIME,
    ) -> None:
        self._issuer, self._verify = issuer, verify
        self._lifetime, self._longest = min(lifetime, longest), min(longest, MAX_LIFETIME)
        self._buckets = TokenBuckets(_PER_SECOND, _AT_ONCE)
        self.counts: Counter[str] = Counter()

    def methods(self) -> dict[str, Unary]:
        """The methods, by path, for a `GrpcServer`."""
        return {f"/{SERVICE}/CreateCertificate": self._create}

    async def _create(self, body: bytes, call: Call) -> bytes:
        self.counts["csr_count"] += 1
        try:
            request = CertificateRequest.FromString(body)
        except DecodeError:
            self.counts["csr_parsing_err_count"] += 1
            raise Abort(Status.INVALID_ARGUMENT, "the message is no certificate request") from None
        try:
            identity = await self._verify(bearer(call.metadata))
        except PermissionError as error:
            self.counts["authentication_failure_count"] += 1
            log.warning("certificate refused to %s: %s", call.peer, error)
            raise Abort(Status.UNAUTHENTICATED, str(error)) from None
        call.authenticated()
        if not self._buckets.take((identity.uri, identity.pod)):
            self.counts["rate_limited_count"] += 1
            text = f"{identity.uri} asks for certificates too often; at most {_PER_SECOND:g} a second are signed"
            raise Abort(Status.RESOURCE_EXHAUSTED, text)
        chain = self._sign(request, identity)
        self.counts["success_cert_issuance_count"] += 1
        return bytes(CertificateResponse(cert_chain=[pem.decode() for pem in chain]).SerializeToString())

    def _sign(self, request: Any, identity: Identity) -> list[bytes]:
        """The chain, with all roots that are trusted in place of the CA's own. Raises Abort."""
        authority = self._issuer.authority
        if authority is None:
            raise Abort(Status.UNAVAILABLE, "the CA changes: its root is not trusted by all proxies yet")
        asked = self._lifetime
        if request.validity_duration > 0:
            asked = dt.timedelta(seconds=min(request.validity_duration, self._longest.total_seconds()))
        try:
            chain = authority.sign(request.csr.encode(), identity, asked)
        except CsrRefused as error:
            self.counts["csr_parsing_err_count" if isinstance(error, CsrMalformed) else "csr_sign_err_count"] += 1
            log.warning("certificate refused to %s: %s", identity.uri, error)
            raise Abort(Status.INVALID_ARGUMENT, str(error)) from None
        except CaExpired as error:
            self.counts["csr_sign_err_count"] += 1
            log.error("no certificate for %s: %s", identity.uri, error)
            raise Abort(Status.UNAVAILABLE, str(error)) from None
        self._issuer.issued(dt.datetime.now(dt.UTC) + asked)
        return [*chain[:-1], self._issuer.bundle]


def bearer(metadata: dict[str, str]) -> str:
    """The bearer token of a call; empty if there is none."""
    value = metadata.get("authorization", "")
    return value[7:].strip() if value.lower().startswith("bearer ") else ""
