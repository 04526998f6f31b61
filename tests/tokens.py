"""Issuers of end-user tokens (JWT, RFC 7519), for tests: keys of each kind, and tokens signed with them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Object = dict[str, Any]
_SHA = hashes.SHA256()


def encode(value: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _json(value: Object) -> str:
    return encode(json.dumps(value).encode())


def _number(value: int, size: int = 0) -> str:
    return encode(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Issuer:
    """One issuer with one key. `algorithm`: RS256, PS256, ES256 or EdDSA."""

    def __init__(self, name: str, algorithm: str = "ES256") -> None:
        self.name, self.algorithm = name, algorithm
        self._key: Any
        if algorithm == "ES256":
            self._key = ec.generate_private_key(ec.SECP256R1())
            point = self._key.public_key().public_numbers()
            public = {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
        elif algorithm == "EdDSA":
            self._key = ed25519.Ed25519PrivateKey.generate()
            public = {"kty": "OKP", "crv": "Ed25519", "x": encode(self._key.public_key().public_bytes_raw())}
        else:
            self._key = rsa.generate_private_key(65537, 2048)
            numbers = self._key.public_key().public_numbers()
            public = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        self.public: Object = {**public, "alg": algorithm, "kid": f"{name}-{algorithm}"}

    @property
    def keys(self) -> str:
        """The key set."""
        return json.dumps({"keys": [self.public]})

    def token(self, **claims: Any) -> str:
        """A token that ends in an hour, unless `exp` is given."""
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.public["kid"]}
        body = {"iss": self.name, "sub": "me", "exp": int(time.time()) + 3600, **claims}
        signed = f"{_json(head)}.{_json(body)}"
        return f"{signed}.{encode(self._sign(signed.encode()))}"

    def _sign(self, data: bytes) -> bytes:
        match self.algorithm:
            case "ES256":
                pair = decode_dss_signature(self._key.sign(data, ec.ECDSA(_SHA)))
                return b"".join(value.to_bytes(32, "big") for value in pair)
            case "EdDSA":
                return bytes(self._key.sign(data))
            case "PS256":
                return bytes(self._key.sign(data, padding.PSS(padding.MGF1(_SHA), 32), _SHA))
            case _:
                return bytes(self._key.sign(data, padding.PKCS1v15(), _SHA))
