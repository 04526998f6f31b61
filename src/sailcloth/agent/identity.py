"""A workload's key and certificate: generated in memory, signed by the control plane's CA, renewed before they expire.

The key leaves this process only for the workload's Envoy, over its UNIX socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sailcloth.ca.service import SERVICE, CertificateRequest, CertificateResponse

log = logging.getLogger(__name__)

RENEW_AT = 0.5  # share of the lifetime after which a certificate is renewed, less a little jitter
_RETRY_S = (0.05, 5.0)


@dataclass(frozen=True)
class Secret:
    """A certificate chain, its key, and the root certificates to trust, all PEM."""

    chain: bytes
    key: bytes
    roots: bytes
    not_before: float
    not_after: float

    def __repr__(self) -> str:  # the key must not reach a log by accident
        return f"Secret(not_after={self.not_after})"


class WorkloadIdentity:
    """Fetches and renews the secret of one workload. `token()` returns a valid service-account token for the CA."""

    def __init__(
        self,
        channel: Callable[[], grpc.aio.Channel],
        token: Callable[[], Awaitable[str]],
        *,
        name: str,
        lifetime_s: int = 0,
    ) -> None:
        self._channel, self._token, self._name, self._lifetime_s = channel, token, name, lifetime_s
        self.secret: Secret | None = None
        self.version = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start fetching and renewing."""
        self._task = asyncio.create_task(self._run(), name=f"identity {self._name}")

    async def close(self) -> None:
        """Stop, and drop the secret."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.secret = None

    async def wait_for_version_after(self, version: int) -> Secret:
        """Wait until the secret's version is greater than `version`; returns the secret."""
        while self.secret is None or self.version <= version:
            event = self._changed
            await event.wait()
        return self.secret

    async def _run(self) -> None:
        delay = _RETRY_S[0]
        while True:
            try:
                secret = await self.fetch()
            except (grpc.RpcError, OSError, ValueError) as error:
                code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                text = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
                level = logging.INFO if code == "UNAVAILABLE" and delay < 1 else logging.WARNING
                log.log(level, "%s: no certificate yet (%s: %s); trying again in %.2f s", self._name, code, text, delay)
                await asyncio.sleep(delay * (0.5 + random.random()))
                delay = min(delay * 2, _RETRY_S[1])
                continue
            delay = _RETRY_S[0]
            self.secret = secret
            self.version += 1
            event, self._changed = self._changed, asyncio.Event()
            event.set()
            life = secret.not_after - time.time()
            await asyncio.sleep(max(0.2, life * RENEW_AT * (0.98 + 0.02 * random.random())))

    async def fetch(self) -> Secret:
        """Generate a key and have it signed. Raises grpc.RpcError if the CA refuses, ValueError for a response without a chain."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        request = CertificateRequest(
            csr=csr.public_bytes(serialization.Encoding.PEM).decode(), validity_duration=self._lifetime_s
        )
        call = self._channel().unary_unary(
            f"/{SERVICE}/CreateCertificate", lambda m: m.SerializeToString(), CertificateResponse.FromString
        )
        metadata = (("authorization", f"Bearer {await self._token()}"),)
        answer = await call(request, metadata=metadata, timeout=10)
        chain = [c.encode() for c in answer.cert_chain]
        if len(chain) < 2:
            raise ValueError("the CA's response has no certificate chain")
        leaf = x509.load_pem_x509_certificate(chain[0])
        return Secret(
            chain=b"".join(chain[:-1]),
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            roots=chain[-1],
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
        )
