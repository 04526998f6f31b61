"""Validates RequestAuthentication: issuers and their keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from sailcloth.api.request_authentication import JWTRule, RequestAuthentication

from . import attachment, codes, durations, http
from .report import Report

_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")


def validate(report: Report, obj: RequestAuthentication) -> None:
    """Report all findings."""
    spec = obj.spec
    attachment.check(report, spec.selector, spec.target_ref, spec.target_refs)
    for index, rule in enumerate(spec.jwt_rules):
        _rule(report, f"spec.jwtRules[{index}]", rule)


def _rule(report: Report, path: str, rule: JWTRule) -> None:
    uri = rule.jwks_uri or rule.jwks_uri_deprecated
    if not rule.issuer and not uri and not rule.jwks:
        report.error(codes.REQUIRED, f"{path}.issuer", "the issuer is missing", "Give issuer or jwksUri.")
    if rule.jwks and uri:
        text = "jwks is used, jwksUri is not"
        report.warning(codes.NO_EFFECT, f"{path}.jwksUri", text, "Keep one of them.")
    if uri:
        _uri(report, f"{path}.jwksUri", uri)
    if rule.jwks:
        _keys(report, f"{path}.jwks", rule.jwks)
    for field, values in (
        ("audiences", rule.audiences),
        ("fromParams", rule.from_params),
        ("fromCookies", rule.from_cookies),
        ("spaceDelimitedClaims", rule.space_delimited_claims),
    ):
        _filled(report, f"{path}.{field}", values)
    for index, header in enumerate(rule.from_headers):
        http.check_header(report, f"{path}.fromHeaders[{index}].name", header.name)
    for index, copied in enumerate(rule.output_claim_to_headers):
        at = f"{path}.outputClaimToHeaders[{index}]"
        http.check_header(report, f"{at}.header", copied.header)
        if not copied.claim:
            report.error(codes.REQUIRED, f"{at}.claim", "the claim is empty", "Name the claim.")
    if rule.output_payload_to_header:
        http.check_header(report, f"{path}.outputPayloadToHeader", rule.output_payload_to_header)
    durations.check(report, f"{path}.timeout", rule.timeout)


def _filled(report: Report, path: str, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        if not value:
            report.error(codes.REQUIRED, f"{path}[{index}]", "the value is empty", "Remove it.")


def _uri(report: Report, path: str, text: str) -> None:
    try:
        url = urlsplit(text)
        fine = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        fine = False
    if not fine:
        report.error(codes.ADDRESS, path, f"{text!r} is not a URL of keys", "Write https://host/path.")


def _keys(report: Report, path: str, text: str) -> None:
    """A JSON Web Key Set, RFC 7517."""
    try:
        keys = json.loads(text)["keys"]
        fine = isinstance(keys, list) and all(isinstance(k, dict) and isinstance(k.get("kty"), str) for k in keys)
    except (ValueError, KeyError, TypeError, RecursionError):
        fine = False
    if not fine:
        report.error(codes.TYPE, path, "it is not a JSON Web Key Set", 'Write {"keys": [{"kty": ...}]}.')
    elif any(field in key for key in keys for field in _PRIVATE):
        text = "jwks contains a private key, which anyone who can read the object can read"
        report.warning(codes.RISKY, path, text, "Keep the public part only, and renew the key.")
