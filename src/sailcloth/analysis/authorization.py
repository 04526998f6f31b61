"""Which policy decides a request to a workload: explains AuthorizationPolicies, RequestAuthentications and PeerAuthentications.

`rbac` evaluates the rules that proxies get (`envoy.features.authorization`), so the decision is Envoy's. An external authorizer's
response is not known; a token counts as valid if a rule of the workload matches its issuer and audience.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
from envoy.config.rbac.v3.rbac_pb2 import RBAC

from sailcloth.api.meta import Key
from sailcloth.api.request_authentication import JWTRule
from sailcloth.envoy import pipeline
from sailcloth.envoy.features.authorization import emit
from sailcloth.envoy.features.authorization.policy import Authorization
from sailcloth.envoy.features.request_authentication.policy import TokenRules
from sailcloth.envoy.inputs import ResolvedPolicies
from sailcloth.envoy.resources import jwt_claims
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.mesh.kinds import Traffic
from sailcloth.mesh.peer_authentication import MutualTlsModes
from sailcloth.view import policies
from sailcloth.view.metadata import NodeMetadata

from . import rbac
from .path_normalization import normalize

_NAME = re.compile(r"ns\[(?P<namespace>.*)\]-policy\[(?P<name>.*)\]-rule\[(?P<rule>\d+)\]$")
_MAX_RULES = 5  # rules that a reason lists
_SPACE_DELIMITED = ("scope", "permission")


class Call(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A request to a workload, or (protocol tcp) a connection. The fields are the keys of `--requests`.

    principal: the caller's identity, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT; empty: no mutual TLS. namespace: the caller's, instead of a
    principal. claims: of a valid token. host, port: as the workload's proxy receives them.
    """

    principal: str = ""
    namespace: str = ""
    source_ip: str = ""
    remote_ip: str = ""
    destination_ip: str = ""
    method: str = "GET"
    path: str = "/"
    host: str = ""
    port: int = 0
    headers: dict[str, str] = {}
    claims: dict[str, Any] | None = None
    sni: str = ""
    protocol: Literal["http", "tcp"] = "http"


class Decision(msgspec.Struct, frozen=True):
    """decision: allow or deny; none: no policy decides, or an external authorizer does (action CUSTOM).

    action: of the deciding policy: ALLOW, DENY or CUSTOM; JWT and MTLS for the other kinds. policy: `namespace/name`; rule: its index.
    """

    decision: Literal["allow", "deny", "none"]
    action: str | None = None
    policy: str | None = None
    rule: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Workload:
    """A workload by its namespace and labels. `gateway`: whether it is a gateway proxy."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    gateway: bool = False


def decide(graph: Graph, workload: Workload, call: Call) -> Decision:
    """The decision on a call, in the order of Envoy's filters."""
    resolved = _resolve_policies(graph, workload)
    authorization = resolved.of(Authorization)
    authorization = authorization.at_gateway() if workload.gateway else authorization
    if not workload.gateway and (refused := _refuse_plain_text(resolved, call)):
        return refused
    request = _request(graph, call)
    tcp = call.protocol == "tcp"
    external = _external_authorization(authorization, request, tcp)
    if external is not None and external.decision == "deny":
        return external
    if not tcp:
        verified = _verify_token(resolved.of(TokenRules), call, request)
        if isinstance(verified, Decision):
            return verified
        request = verified
    decided = _deny_and_allow(authorization, request, tcp)
    if decided.decision == "deny" or external is None:
        return decided
    return external


def _resolve_policies(graph: Graph, workload: Workload) -> ResolvedPolicies:
    traffic: Traffic = "gateway" if workload.gateway else "inbound"
    labels = tuple(sorted(workload.labels.items()))
    return graph.get(pipeline.resolve, policies.of_proxy(graph, workload.namespace, labels, NodeMetadata({}), traffic))


def _refuse_plain_text(resolved: ResolvedPolicies, call: Call) -> Decision | None:
    modes = resolved.of(MutualTlsModes)
    if call.principal or call.namespace or modes.mode_of_port(call.port) != "STRICT":
        return None
    names = ", ".join(_policy(key) for key in modes.sources)
    return Decision("deny", "MTLS", None, None, f"the workload takes mutual TLS only (PeerAuthentication {names})")


def _policy(key: Key) -> str:
    return f"{key.namespace}/{key.name}"


def _request(graph: Graph, call: Call) -> rbac.Request:
    config = registry.config(graph)
    principal = call.principal.removeprefix("spiffe://")
    if not principal and call.namespace:
        principal = f"{config.trust_domain}/ns/{call.namespace}/sa/default"
    http = call.protocol == "http"
    return rbac.Request(
        principal=f"spiffe://{principal}" if principal else "",
        source_ip=call.source_ip,
        remote_ip=call.remote_ip,
        destination_ip=call.destination_ip,
        port=call.port,
        server_name=call.sni,
        method=call.method if http else "",
        path=normalize(call.path, config.path_normalization) if http else "",
        host=call.host if http else "",
        headers=call.headers if http else {},
    )


# -- external authorizers -----------------------------------------------------------------------


def _external_authorization(authorization: Authorization, request: rbac.Request, tcp: bool) -> Decision | None:
    """The decision of CUSTOM policies, without the authorizers' responses; None if no authorizer is called."""
    pending = None
    for name, authorizer in authorization.authorizers:
        of_authorizer = [p for p in authorization.of("CUSTOM") if p.authorizer == name]
        if authorizer is None:
            which = f"{of_authorizer[0].namespace}/{of_authorizer[0].name}"
            return Decision(
                "deny", "CUSTOM", which, None, f"the provider {name!r} is not known, so everything is refused"
            )
        rules = emit.rules(of_authorizer, "CUSTOM", authorization.trust_domains, tcp)
        matched = rbac.matched_policy(rules, request) if rules is not None else None
        if matched is None:
            continue
        if tcp and authorizer.http is not None:
            text = f"the provider {name!r} speaks HTTP and cannot be asked about connections"
            return _by_name("deny", "CUSTOM", matched, text)
        if pending is None:
            pending = _by_name("none", "CUSTOM", matched, f"the provider {name!r} decides; other policies allow it")
    return pending


def _by_name(decision: Literal["allow", "deny", "none"], action: str, name: str, reason: str) -> Decision:
    match = _NAME.search(name)
    if match is None:
        return Decision(decision, action, None, None, reason)
    return Decision(decision, action, f"{match['namespace']}/{match['name']}", int(match["rule"]), reason)


# -- tokens -------------------------------------------------------------------------------------


def _verify_token(tokens: TokenRules, call: Call, request: rbac.Request) -> rbac.Request | Decision:
    """The request with its token's claims as metadata; a Decision if the token is missing or not valid."""
    rules = [rule for rule, _ in tokens.rules]
    required = [rule for rule in rules if rule.presence == "REQUIRED"]
    sources = ", ".join(_policy(key) for key in tokens.sources)
    if call.claims is None:
        if not required:
            return request
        return Decision("deny", "JWT", None, None, f"a token is missing (401), which {sources} demands")
    if not rules:
        return request  # no rule reads the token
    issued = [rule for rule in required or rules if rule.issuer in ("", call.claims.get("iss"))]
    if not issued:
        text = f"no rule of {sources} is for the issuer {call.claims.get('iss')!r} of the token (401)"
        return Decision("deny", "JWT", None, None, text)
    rule = next((rule for rule in issued if _is_audience(rule, call.claims)), None)
    if rule is None:
        return Decision("deny", "JWT", None, None, f"the token is for no audience of {sources} (403)")
    payload = {
        name: value.split()
        if isinstance(value, str) and name in (*_SPACE_DELIMITED, *rule.space_delimited_claims)
        else value
        for name, value in call.claims.items()
    }
    return replace(request, metadata={jwt_claims.FILTER: {jwt_claims.PAYLOAD: payload}})


def _is_audience(rule: JWTRule, claims: Mapping[str, Any]) -> bool:
    audiences = claims.get("aud", [])
    given = {audiences} if isinstance(audiences, str) else set(audiences)
    return not rule.audiences or bool(given & set(rule.audiences))


# -- policies -----------------------------------------------------------------------------------


def _unmatched(rules: RBAC, request: rbac.Request) -> str:
    """The part of each rule that does not match; rules with a single such part come first."""
    parts: list[tuple[int, str]] = []
    for name in sorted(rules.policies):
        policy, match = rules.policies[name], _NAME.search(name)
        if match is None or not policy.permissions or not policy.principals:
            continue
        failed = [
            part
            for part, holds in (
                ("from", any(rbac.matches_principal(rule, request) for rule in policy.principals)),
                ("to", any(rbac.matches_permission(rule, request) for rule in policy.permissions)),
            )
            if not holds
        ]
        named = f"{match['namespace']}/{match['name']}"
        empty = policy.permissions[0].not_rule.any  # a policy without rules
        parts.append(
            (
                len(failed),
                f"{named} has no rules" if empty else f"{named} rule {match['rule']} by {' and '.join(failed)}",
            )
        )
    texts = [text for _, text in sorted(parts)]
    return ", ".join(texts[:_MAX_RULES]) + (f", and {len(texts) - _MAX_RULES} more" if len(texts) > _MAX_RULES else "")


def _deny_and_allow(authorization: Authorization, request: rbac.Request, tcp: bool) -> Decision:
    """The decision of DENY and ALLOW policies."""
    domains = authorization.trust_domains
    for action in ("DENY", "ALLOW"):
        of_action = authorization.of(action)
        rules = emit.rules(of_action, action, domains, tcp)
        if rules is None:
            continue
        matched = rbac.matched_policy(rules, request)
        if matched is not None:
            verb: Literal["allow", "deny"] = "allow" if action == "ALLOW" else "deny"
            return _by_name(verb, action, matched, f"a rule of this {action} policy matches")
        if action == "ALLOW":
            return Decision(
                "deny", action, None, None, f"no rule of an ALLOW policy matches: {_unmatched(rules, request)}"
            )
    if authorization.of("DENY"):
        return Decision("allow", None, None, None, "no DENY policy matches, and there is no ALLOW policy")
    return Decision("none", None, None, None, "no policy applies to the workload: everything is allowed")
