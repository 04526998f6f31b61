"""A workload's key and certificate: generated in memory, signed by the control plane's CA or another one, renewed before they expire.

The key leaves this process only for the workload's Envoy, over its UNIX socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

from sailcloth.ca.service import SERVICE, CertificateRequest, CertificateResponse
from sailcloth.lib.x509_errors import as_value_errors

from .certificate_options import DEFAULT_OPTIONS, CertificateOptions

log = logging.getLogger(__name__)

_RETRY_S = (0.05, 5.0)
_EXPIRY = "istio_agent_cert_expiry_seconds"


@dataclass(frozen=True)
class Secret:
    """A certificate chain, its key, the root certificates to trust, and the revocation lists, all PEM."""

    chain: bytes
    key: bytes
    roots: bytes
    chain_root: bytes  # the root of the chain itself
    not_before: float
    not_after: float
    revoked: bytes = b""

    def __repr__(self) -> str:  # the key must not reach a log by accident
        return f"Secret(not_after={self.not_after})"


def union(*bundles: bytes) -> bytes:
    """The certificates of several PEM bundles, each once."""
    end = b"-----END CERTIFICATE-----"
    parts = (part.strip() for bundle in bundles for part in bundle.split(end))
    return b"".join(part + b"\n" + end + b"\n" for part in dict.fromkeys(parts) if part)


def vouching(chain: bytes, roots: bytes) -> bytes:
    """The one of these root certificates under which a chain is (PEM); all of them if none is found."""
    last = x509.load_pem_x509_certificates(chain)[-1]
    for root in x509.load_pem_x509_certificates(roots):
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            last.verify_directly_issued_by(root)
            return root.public_bytes(serialization.Encoding.PEM)
    return roots


Connect = Callable[[], contextlib.AbstractAsyncContextManager[grpc.aio.Channel]]
"""A connection to a CA, for one request."""


def shared(channel: Callable[[], grpc.aio.Channel]) -> Connect:
    """A channel that stays open."""

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[grpc.aio.Channel]:
        yield channel()

    return connect


class WorkloadIdentity:
    """Fetches and renews the secret of one workload. `token()` returns a valid service-account token for the CA."""

    def __init__(
        self,
        connect: Connect,
        token: Callable[[], Awaitable[str]],
        *,
        name: str,
        options: CertificateOptions = DEFAULT_OPTIONS,
        roots: bytes = b"",
        revoked: bytes = b"",
    ) -> None:
        self._connect, self._token, self._name, self._options = connect, token, name, options
        self._bundle = roots  # trusted beside the root of the workload's own certificate
        self._revoked = revoked
        self._renewal = asyncio.Event()
        self.secret: Secret | None = None
        self.version = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        """The SPIFFE id of the certificate; empty without one."""
        if self.secret is None:
            return ""
        leaf = x509.load_pem_x509_certificate(self.secret.chain)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")

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

    def trust(self, roots: bytes, revoked: bytes) -> None:
        """Trust other roots, and refuse what these lists revoke, from now on. A new certificate is signed if the roots do not vouch
        for the present one."""
        self._bundle, self._revoked = roots, revoked
        if self.secret is None:
            return
        own = self.secret.chain_root
        if union(roots, own) != union(roots):
            self._renewal.set()
        changed = replace(self.secret, roots=union(roots, own), revoked=revoked)
        if changed != self.secret:
            self._publish(changed)

    def _publish(self, secret: Secret) -> None:
        self.secret = secret
        self.version += 1
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def metrics(self, now: float) -> str:
        """Istio's gauge of when the certificate and the earliest of the roots end, in Prometheus' text format."""
        if self.secret is None:
            return ""
        roots = x509.load_pem_x509_certificates(self.secret.roots)
        ends = {"default": self.secret.not_after, "ROOTCA": min(r.not_valid_after_utc.timestamp() for r in roots)}
        lines = (f'{_EXPIRY}{{resource_name="{name}"}} {end - now:.15g}\n' for name, end in ends.items())
        return f"# TYPE {_EXPIRY} gauge\n" + "".join(lines)

    async def wait_for_version_after(self, version: int) -> Secret:
        """Wait until the secret's version is greater than `version`; returns the secret."""
        while self.secret is None or self.version <= version:
            event = self._changed
            await event.wait()
        return self.secret

    async def _run(self) -> None:
        delay = _RETRY_S[0]
        while True:
            self._renewal.clear()
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
            self._publish(secret)
            pause = self._options.renewal_s(secret.not_after - time.time(), random.random())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.2, pause)):
                    await self._renewal.wait()

    async def fetch(self) -> Secret:
        """Generate a key and have it signed. Raises grpc.RpcError if the CA refuses, OSError if it cannot be found, ValueError for a
        response without a chain for the key."""
        generate = self._options.generate_key
        key = await asyncio.to_thread(generate) if self._options.rsa_bits else generate()
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        request = CertificateRequest(
            csr=csr.public_bytes(serialization.Encoding.PEM).decode(), validity_duration=self._options.lifetime_s
        )
        metadata = (("authorization", f"Bearer {await self._token()}"),)
        async with self._connect() as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/CreateCertificate", lambda m: m.SerializeToString(), CertificateResponse.FromString
            )
            answer = await call(request, metadata=metadata, timeout=10)
        chain = [c.strip().encode() + b"\n" for c in answer.cert_chain]
        if len(chain) < 2:
            raise ValueError("the CA's response has no certificate chain")
        own = b"".join(chain[:-1])
        with as_value_errors():
            leaf = x509.load_pem_x509_certificate(chain[0])
            if leaf.public_key() != key.public_key():
                raise ValueError("the CA's certificate is for another key")
            root = vouching(own, chain[-1])
        return Secret(
            chain=own,
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            roots=union(self._bundle, chain[-1]),
            chain_root=root,
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            revoked=self._revoked,
        )
