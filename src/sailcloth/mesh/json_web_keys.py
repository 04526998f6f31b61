"""The public keys of issuers of tokens: where they are, which of them can verify a token, and the graph input that holds them.

Must not fetch anything; the control plane does (`controlplane.key_fetcher`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sailcloth.api.meta import duration_ms
from sailcloth.api.request_authentication import JWTRule
from sailcloth.lib.incremental import Graph

_TIMEOUT_MS = 5000.0
_LONGEST_TIMEOUT_MS = 10_000.0  # a policy takes effect after the first attempt
_LEAST_MODULUS, _LARGEST_MODULUS = 2048, 8192  # bits; larger keys only cost time
_CURVES: dict[str, tuple[Callable[[], ec.EllipticCurve], str]] = {
    "P-256": (ec.SECP256R1, "ES256"),
    "P-384": (ec.SECP384R1, "ES384"),
    "P-521": (ec.SECP521R1, "ES512"),
}


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
        timeout_ms = min(duration_ms(rule.timeout) or _TIMEOUT_MS, _LONGEST_TIMEOUT_MS)
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
    good = [public for key in keys if (public := _public(key))] if isinstance(keys, list) else []
    return json.dumps({"keys": good}, separators=(",", ":")) if good else ""


def _public(key: Any) -> dict[str, str]:
    """The public part of a key; empty if Envoy cannot verify tokens with it."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return {}
    try:
        family = _FAMILIES[key["kty"]]
        if not family.fits(key) or key.get("alg", family.algorithms(key)[0]) not in family.algorithms(key):
            return {}
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm):
        return {}
    names = ("kty", "kid", "alg", "use", *family.fields)
    return {name: key[name] for name in names if isinstance(key.get(name), str)}


def _rsa(key: dict[str, Any]) -> bool:
    modulus = _number(key["n"])
    if not _LEAST_MODULUS <= modulus.bit_length() <= _LARGEST_MODULUS:
        return False
    rsa.RSAPublicNumbers(_number(key["e"]), modulus).public_key()
    return True


def _ec(key: dict[str, Any]) -> bool:
    ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), _CURVES[key["crv"]][0]()).public_key()
    return True


def _okp(key: dict[str, Any]) -> bool:
    ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key["x"]))
    return bool(key["crv"] == "Ed25519")


class _Family(NamedTuple):
    """A type of keys: its fields, whether a key is one, and the algorithms of tokens that it verifies."""

    fields: tuple[str, ...]
    fits: Callable[[dict[str, Any]], bool]
    algorithms: Callable[[dict[str, Any]], tuple[str, ...]]


_FAMILIES = {
    "RSA": _Family(("n", "e"), _rsa, lambda key: ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "EC": _Family(("crv", "x", "y"), _ec, lambda key: (_CURVES[key["crv"]][1],)),
    "OKP": _Family(("crv", "x"), _okp, lambda key: ("EdDSA",)),
}


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
