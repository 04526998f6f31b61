"""The verdict on a RequestAuthentication: issuers whose tokens cannot be verified."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.api.request_authentication import JWTRule, RequestAuthentication
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import json_web_keys, registry
from sailcloth.mesh.verdict import Verdict

from .policy import keys_of


def verdict(graph: Graph, key: Key) -> Verdict:
    """Not accepted while an issuer has no keys: its tokens are refused. Notes that keys could not be renewed."""
    obj = registry.read(graph, RequestAuthentication, key)
    if obj is None:
        return Verdict()
    missing, notes = [], []
    for index, rule in enumerate(obj.spec.jwt_rules):
        error = _error(graph, rule)
        if not graph.get(keys_of, rule):
            missing.append(f"jwtRules[{index}]: {error or 'the keys are being fetched'}; tokens of it are refused")
        elif error:
            notes.append(f"jwtRules[{index}]: {error}; the keys fetched before stay in use")
    if missing:
        return Verdict(False, "KeysNotFound", "; ".join(missing))
    return Verdict(notes=tuple(notes))


def _error(graph: Graph, rule: JWTRule) -> str:
    """Why a rule has no keys, or no new ones; empty if it does, or before the first attempt to fetch them."""
    if rule.jwks:
        return "" if json_web_keys.usable(rule.jwks) else "jwks has no public key that verifies tokens"
    where = json_web_keys.source(rule)
    if where is None:
        return f"{rule.issuer!r} is no URL to find keys at; give jwks or jwksUri"
    fetched = json_web_keys.fetched(graph, where)
    return fetched.error if fetched is not None else ""
