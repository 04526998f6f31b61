"""Service-account tokens: compact JWTs signed with ES256, as Kubernetes issues them, and their verification."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

ISSUER = "https://kubernetes.default.svc.cluster.local"
BOUND_KINDS = ("Pod", "Secret", "Node")
_LIMIT = 16 << 10


class InvalidToken(Exception):
    """A token that proves nothing; the text says why and holds nothing of it."""


class BoundObject(NamedTuple):
    """An object without which a token does not hold: a Pod, a Secret or a Node."""

    kind: str
    name: str
    uid: str


class TokenIssuer:
    """Signs and verifies with one key."""

    def __init__(self, key_pem: bytes) -> None:
        key = serialization.load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._id = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()

    def issue(
        self,
        namespace: str,
        account: str,
        uid: str,
        audiences: list[str],
        seconds: int,
        bound_to: BoundObject | None = None,
    ) -> tuple[str, float]:
        """(token, time of expiry). It holds as long as the object that it is bound to."""
        now = int(time.time())
        bound: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}}
        if bound_to is not None:
            bound[bound_to.kind.lower()] = {"name": bound_to.name, "uid": bound_to.uid}
        claims = {
            "aud": audiences or [ISSUER],
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "kubernetes.io": bound,
        }
        head = _encode(orjson.dumps({"alg": "ES256", "kid": self._id, "typ": "JWT"}))
        text = head + b"." + _encode(orjson.dumps(claims))
        r, s = decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return (text + b"." + _encode(signature)).decode(), float(now + seconds)

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that this issuer signed and that has not expired. Raises InvalidToken."""
        if len(token) > _LIMIT:
            raise InvalidToken("the token is too long")
        try:
            parts = token.encode().split(b".")
            signature = _decode(parts[2]) if len(parts) == 3 else b""
            head, claims = (orjson.loads(_decode(part)) for part in parts[:2])
        except ValueError:
            raise InvalidToken("the token is not a JWT") from None
        if len(parts) != 3 or not isinstance(head, dict) or not isinstance(claims, dict):
            raise InvalidToken("the token is not a JWT")
        if head.get("alg") != "ES256" or len(signature) != 64:
            raise InvalidToken("the token is not signed with ES256")
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        try:
            self._key.public_key().verify(der, parts[0] + b"." + parts[1], ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise InvalidToken("the token's signature is wrong") from None
        now = time.time()
        if claims.get("iss") != ISSUER:
            raise InvalidToken("the token was issued by somebody else")
        if not _number(claims.get("exp")) >= now:
            raise InvalidToken("the token has expired")
        if not _number(claims.get("nbf")) <= now + 60:
            raise InvalidToken("the token is not valid yet")
        return claims


def _number(claim: Any) -> float:
    return float(claim) if isinstance(claim, int | float) else 0.0


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(data: bytes) -> bytes:
    """Raises ValueError for what `_encode` does not make: of a token there is one spelling only."""
    decoded = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    if _encode(decoded) != data:
        raise ValueError("not base64url")
    return decoded
