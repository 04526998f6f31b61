"""The public keys of issuers of tokens: where they are, which of them can verify a token, and the graph input that holds them.

Must not fetch anything; the control plane does (`controlplane.key_fetcher`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sailcloth.api.meta import duration_ms
from sailcloth.api.request_authentication import JWTRule
from sailcloth.lib.incremental import Graph

_TIMEOUT_MS = 5000.0
_LARGEST_MODULUS = 8192  # bits; larger keys only cost time
_CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
_PUBLIC = ("kty", "kid", "alg", "use", "key_ops", "crv", "x", "y", "n", "e", "x5c", "x5t")  # never sends a private part


class KeySource(NamedTuple):
    """Where the keys of an issuer are. `discover`: the address is the issuer's, whose OpenID configuration has the keys' address."""

    url: str
    discover: bool = False
    timeout_ms: float = _TIMEOUT_MS


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """The last keys that were valid (a JSON Web Key Set; empty: none yet), and the error of the last attempt."""

    keys: str = ""
    error: str = ""


def source(rule: JWTRule) -> KeySource | None:
    """Where the keys of a rule must be fetched from; None if the rule has them, or says nothing of them."""
    if rule.jwks:
        return None
    uri = rule.jwks_uri or rule.jwks_uri_deprecated
    try:
        timeout_ms = duration_ms(rule.timeout) or _TIMEOUT_MS
    except ValueError:
        timeout_ms = _TIMEOUT_MS
    if uri:
        return KeySource(uri, False, timeout_ms)
    return KeySource(rule.issuer, True, timeout_ms) if rule.issuer.startswith(("http://", "https://")) else None


def set_fetched(graph: Graph, where: KeySource, keys: FetchedKeys | None) -> bool:
    """Record the result of the last attempt to fetch keys; None if nobody needs them. Returns whether anything changed."""
    return graph.set(("keys", where), keys) if keys is not None else graph.unset(("keys", where))


def fetched(graph: Graph, where: KeySource) -> FetchedKeys | None:
    """The result of the last attempt; None before the first."""
    return cast("FetchedKeys | None", graph.read(("keys", where)))


def usable(text: str) -> str:
    """The keys of a JSON Web Key Set (RFC 7517) that Envoy can verify tokens with, without private parts, as a set of their own.

    Empty if there is none: Envoy refuses a configuration without any valid key. Symmetric keys are left out: whoever reads
    such a key can sign tokens.
    """
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    good = [{name: key[name] for name in _PUBLIC if name in key} for key in keys or () if _is_usable(key)]
    return json.dumps({"keys": good}, separators=(",", ":")) if good else ""


def _is_usable(key: Any) -> bool:
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return False
    try:
        match key.get("kty"):
            case "RSA":
                modulus = _number(key["n"])
                rsa.RSAPublicNumbers(_number(key["e"]), modulus).public_key()
                return 2048 <= modulus.bit_length() <= _LARGEST_MODULUS
            case "EC":
                curve = _CURVES[key["crv"]]()
                ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()
                return True
            case "OKP":
                ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key["x"]))
                return bool(key["crv"] == "Ed25519")
            case _:
                return False
    except (ValueError, KeyError, TypeError):
        return False


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
