"""What a proxy's environment says of its certificate, in the variables of Istio's agent. Pure.

Differs from Istio in the default key: ECDSA P-256 rather than RSA, which costs peers ten times as much at each handshake.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sailcloth.api.meta import duration_ms

log = logging.getLogger(__name__)

T = TypeVar("T")
_CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {"P256": ec.SECP256R1, "P384": ec.SECP384R1}


@dataclass(frozen=True)
class CertificateOptions:
    """rsa_bits: 0 for an ECDSA key. lifetime_s: 0 for the CA's default. A certificate is renewed when `renew_at` of its lifetime
    has passed, more or less up to `jitter`."""

    curve: str = "P256"
    rsa_bits: int = 0
    lifetime_s: int = 0
    renew_at: float = 0.5
    jitter: float = 0.01

    @classmethod
    def from_env(cls, env: Mapping[str, str], lifetime_s: int = 0) -> CertificateOptions:
        """By ECC_SIGNATURE_ALGORITHM, ECC_CURVE, WORKLOAD_RSA_KEY_SIZE, SECRET_TTL, SECRET_GRACE_PERIOD_RATIO and
        SECRET_GRACE_PERIOD_RATIO_JITTER. A wrong value counts as none, with a warning."""

        def read(name: str, parse: Callable[[str], T], default: T, valid: Callable[[T], bool], wanted: str) -> T:
            text = env.get(name, "")
            if not text:
                return default
            try:
                value = parse(text)
            except ValueError:
                value = None
            if value is None or not valid(value):
                log.warning("%s=%r is not %s: it has no effect", name, text[:40], wanted)
                return default
            return value

        def seconds(text: str) -> int:
            return round((duration_ms(text) or 0) / 1e3)

        algorithm = read("ECC_SIGNATURE_ALGORITHM", str.upper, "", lambda a: a == "ECDSA", "ECDSA")
        bits = read("WORKLOAD_RSA_KEY_SIZE", int, 0, lambda n: n in (2048, 3072, 4096), "2048, 3072 or 4096")
        grace = read("SECRET_GRACE_PERIOD_RATIO", float, 0.5, lambda r: 0 <= r < 1, "a number from 0 to 1")
        return cls(
            read("ECC_CURVE", str.upper, "P256", lambda c: c in _CURVES, " or ".join(_CURVES)),
            0 if algorithm else bits,
            read("SECRET_TTL", seconds, lifetime_s, lambda s: s > 0, "a duration such as 24h"),
            1 - grace,
            read("SECRET_GRACE_PERIOD_RATIO_JITTER", float, 0.01, lambda r: 0 <= r <= 0.5, "a number from 0 to 0.5"),
        )

    def generate_key(self) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
        """A new key. With RSA it takes a good part of a second."""
        if self.rsa_bits:
            return rsa.generate_private_key(65537, self.rsa_bits)
        return ec.generate_private_key(_CURVES[self.curve]())

    def renewal_s(self, lifetime_s: float, random: float) -> float:
        """Seconds after a certificate's issue when it is renewed. `random`: from 0 to 1."""
        return lifetime_s * min(0.95, max(0.05, self.renew_at + self.jitter * (2 * random - 1)))


DEFAULT_OPTIONS = CertificateOptions()
