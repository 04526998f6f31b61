"""Which keys of a set verify tokens; and Envoy accepts every set that comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.mesh.json_web_keys import usable
from sailcloth.testing import validate

from ..tokens import Issuer

EC, RSA, ED = (Issuer("x", algorithm).public for algorithm in ("ES256", "RS256", "EdDSA"))
BAD: list[Any] = [
    None, 5, "x", [], {}, {"kty": 5}, {"kty": []}, {"kty": "RSA"}, {"kty": "oct", "k": "c2VjcmV0"}, {**EC, "x": 5}, {**EC, "crv": []},
    {**EC, "x": ED["x"]}, {**EC, "y": "!"}, {**EC, "crv": "P-384"}, {**EC, "crv": "secp256k1"}, {**EC, "alg": "ES384"}, {**EC, "alg": 5},
    {**EC, "use": "enc"}, {**RSA, "e": "AQ"}, {**RSA, "e": "AA"}, {**RSA, "n": "AQAB"}, {**RSA, "n": "_" * 30_000}, {**RSA, "alg": "RSA-OAEP"},
    {**ED, "x": "AAAA"}, {**ED, "crv": "X25519"}, {**ED, "alg": "ES256"},
]  # fmt: skip
GOOD: list[dict[str, Any]] = [
    EC, RSA, ED, {**EC, "kid": 5}, {**EC, "alg": "ES256", "use": "sig", "key_ops": ["verify"], "x5c": [5]}, {**RSA, "alg": "PS512"},
    {k: v for k, v in RSA.items() if k != "alg"}, {**RSA, "d": "secret", "p": "secret"}, {**EC, "d": "secret"}, {**EC, "unknown": {}},
]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", "{}", '{"keys": null}', '{"keys": 5}', '{"keys": {}}', "[" * 9999]
)
def test_a_text_that_is_no_set(text: str) -> None:
    assert usable(text) == ""


def test_keys_that_verify_nothing_are_left_out() -> None:
    assert [key for key in BAD if usable(json.dumps({"keys": [key]}))] == []
    mixed = json.loads(usable(json.dumps({"keys": [*BAD, EC, *BAD]})))
    assert mixed["keys"] == [EC]


def test_private_parts_stay_here() -> None:
    assert "secret" not in usable(json.dumps({"keys": GOOD}))
    assert len(json.loads(usable(json.dumps({"keys": GOOD})))["keys"]) == len(GOOD)


def test_envoy_accepts_each_of_them_alone() -> None:
    rules = [{"issuer": f"i{index}", "jwks": json.dumps({"keys": [key]})} for index, key in enumerate([*GOOD, *BAD])]
    obj = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "all", "namespace": "default"},
        "spec": {"jwtRules": rules},
    }
    objects, findings = manifests.load([json.dumps(obj)])
    assert not findings
    proxy = offline.describe({"labels": {"app": "x"}})
    dump = offline.config_dump(offline.resources(offline.mesh_of(objects), proxy))
    assert json.dumps(dump).count("inline_string") >= len(rules)
    assert validate.envoy_error(validate.static_bootstrap(dump)) == ""
