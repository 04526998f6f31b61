"""The gRPC service istio.v1.auth.IstioCertificateService: a CSR in, a certificate chain out, for callers whose
service-account token was verified.

Messages (Istio's security/v1alpha1/ca.proto): request csr=1 string, validity_duration=3 int64 seconds; response
cert_chain=1 repeated string, leaf first and root last.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from sailcloth.lib.grpc_server import Abort, Call, Status, Unary

from .authority import Authority, CsrRefused, Identity

log = logging.getLogger(__name__)

SERVICE = "istio.v1.auth.IstioCertificateService"
DEFAULT_LIFETIME = dt.timedelta(hours=24)

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


class CertificateService:
    """Signs for verified callers. Refusals are logged with the reason, never with the token or the request."""

    def __init__(self, authority: Authority, verify: Verify, lifetime: dt.timedelta = DEFAULT_LIFETIME) -> None:
        self._authority, self._verify, self._lifetime = authority, verify, lifetime
        self.issued = 0
        self.refused = 0

    def methods(self) -> dict[str, Unary]:
        """The methods, by path, for a `GrpcServer`."""
        return {f"/{SERVICE}/CreateCertificate": self._create}

    async def _create(self, body: bytes, call: Call) -> bytes:
        try:
            request = CertificateRequest.FromString(body)
        except DecodeError:
            raise Abort(Status.INVALID_ARGUMENT, "the message is no certificate request") from None
        try:
            identity = await self._verify(bearer(call.metadata))
        except PermissionError as error:
            self.refused += 1
            log.warning("certificate refused to %s: %s", call.peer, error)
            raise Abort(Status.UNAUTHENTICATED, str(error)) from None
        call.authenticated()
        asked = dt.timedelta(seconds=request.validity_duration) if request.validity_duration > 0 else self._lifetime
        try:
            chain = self._authority.sign(request.csr.encode(), identity, min(asked, self._lifetime))
        except CsrRefused as error:
            self.refused += 1
            log.warning("certificate refused to %s: %s", identity.uri, error)
            raise Abort(Status.INVALID_ARGUMENT, str(error)) from None
        self.issued += 1
        return bytes(CertificateResponse(cert_chain=[pem.decode() for pem in chain]).SerializeToString())


def bearer(metadata: dict[str, str]) -> str:
    """The bearer token of a call; empty if there is none."""
    value = metadata.get("authorization", "")
    return value[7:].strip() if value.lower().startswith("bearer ") else ""
