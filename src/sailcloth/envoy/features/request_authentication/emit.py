"""Token rules as Envoy's `jwt_authn` filter. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb

from sailcloth.api.request_authentication import JWTRule
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import typed
from sailcloth.envoy.resources import jwt_claims

from .policy import TokenRules

# Tokens whose signature a worker has verified: only their times are checked again, for a tenth of the cost (`benchmarks security`).
_CACHED_TOKENS = 100
_SPACE_DELIMITED = ("scope", "permission")


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """The filter, if there is any rule."""
    rules = inputs.policies.of(TokenRules).rules
    if not rules:
        return []
    names = [f"origins-{index}" for index in range(len(rules))]
    message = jwt_pb.JwtAuthentication(bypass_cors_preflight=True)
    for name, (rule, keys) in zip(names, rules, strict=True):
        message.providers[name].CopyFrom(_provider(rule, keys, at_gateway=inputs.traffic == "gateway"))
    requirement = message.rules.add(requires=_requirement(names, [rule for rule, _ in rules]))
    requirement.match.prefix = "/"
    return [hcm_pb.HttpFilter(**typed(jwt_claims.FILTER, message))]


def _provider(rule: JWTRule, keys: str, at_gateway: bool) -> jwt_pb.JwtProvider:
    provider = jwt_pb.JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=bool(rule.forward_original_token),
        from_headers=[jwt_pb.JwtHeader(name=h.name, value_prefix=h.prefix or "") for h in rule.from_headers],
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        forward_payload_header=rule.output_payload_to_header or "",
        claim_to_headers=[
            jwt_pb.JwtClaimToHeader(header_name=copied.header, claim_name=copied.claim)
            for copied in rule.output_claim_to_headers
        ],
        payload_in_metadata=jwt_claims.PAYLOAD,
        clear_route_cache=at_gateway,  # routes may match on claims
    )
    provider.jwt_cache_config.jwt_cache_size = _CACHED_TOKENS
    provider.local_jwks.inline_string = keys or _nobodys_key()
    claims = dict.fromkeys((*_SPACE_DELIMITED, *rule.space_delimited_claims))
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(claims)
    return provider


def _requirement(names: Sequence[str], rules: Sequence[JWTRule]) -> jwt_pb.JwtRequirement:
    """One of the tokens that must be there; or else any valid token, or none at all."""
    required = [name for name, rule in zip(names, rules, strict=True) if rule.presence == "REQUIRED"]
    if required:
        return _any([jwt_pb.JwtRequirement(provider_name=name) for name in required])
    either = [_any([jwt_pb.JwtRequirement(provider_name=name), _missing()]) for name in names]
    if len(either) == 1:
        return either[0]
    providers = [jwt_pb.JwtRequirement(provider_name=name) for name in names]
    every = jwt_pb.JwtRequirement(requires_all=jwt_pb.JwtRequirementAndList(requirements=either))
    return _any([*providers, every])


def _any(requirements: list[jwt_pb.JwtRequirement]) -> jwt_pb.JwtRequirement:
    if len(requirements) == 1:
        return requirements[0]
    return jwt_pb.JwtRequirement(requires_any=jwt_pb.JwtRequirementOrList(requirements=requirements))


def _missing() -> jwt_pb.JwtRequirement:
    requirement = jwt_pb.JwtRequirement()
    requirement.allow_missing.SetInParent()
    return requirement


@cache
def _nobodys_key() -> str:
    """A public key whose private key nobody knows: the first point of the curve P-256 whose x coordinate is a hash of a sentence.

    Envoy refuses a provider without a valid key.
    """
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    x = int.from_bytes(hashlib.sha256(b"no token is signed with this key").digest(), "big")
    while True:
        square = (x**3 - 3 * x + b) % prime
        y = pow(square, (prime + 1) // 4, prime)
        if y * y % prime == square:
            break
        x += 1
    coordinates = {name: _base64(value.to_bytes(32, "big")) for name, value in (("x", x), ("y", y))}
    return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", **coordinates}]}, separators=(",", ":"))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
