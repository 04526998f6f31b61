"""Which policy decides a request to a workload: explains AuthorizationPolicies, RequestAuthentications and PeerAuthentications.

The rules are those that proxies get (`envoy.features.authorization`), judged by `rbac`, so that the answer is Envoy's. An external
authorizer's answer is not known; a token is taken as valid if some rule of the workload is for its issuer and audience.
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
from .normal_paths import normalized

_NAME = re.compile(r"ns\[(?P<namespace>.*)\]-policy\[(?P<name>.*)\]-rule\[(?P<rule>\d+)\]$")
_MISSES = 5  # rules whose miss is explained
_SPACE_DELIMITED = ("scope", "permission")


class Call(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A request to a workload, or (protocol tcp) a connection. The fields are the keys of `--requests`.

    principal: the caller's identity, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT; empty: no mutual TLS. namespace: the caller's, in place of a
    principal. claims: of a valid token. host, port: as at the workload.
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

    action: of the policy that decides: ALLOW, DENY or CUSTOM; JWT and MTLS for the other kinds. policy: `namespace/name`; rule: its index.
    """

    decision: Literal["allow", "deny", "none"]
    action: str | None = None
    policy: str | None = None
    rule: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Workload:
    """A workload by its namespace and labels. `gateway`: it is a gateway proxy."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    gateway: bool = False


def decide(graph: Graph, workload: Workload, call: Call) -> Decision:
    """The decision on a call, in the order of Envoy's filters."""
    resolved = _resolved(graph, workload)
    authorization = resolved.of(Authorization)
    authorization = authorization.at_gateway() if workload.gateway else authorization
    if not workload.gateway and (refused := _without_mutual_tls(resolved, call)):
        return refused
    request = _request(graph, call)
    tcp = call.protocol == "tcp"
    asked = _asked(authorization, request, tcp)
    if asked is not None and asked.decision == "deny":
        return asked
    if not tcp:
        verified = _with_token(resolved.of(TokenRules), call, request)
        if isinstance(verified, Decision):
            return verified
        request = verified
    judged = _judged(authorization, request, tcp)
    if judged.decision == "deny" or asked is None:
        return judged
    return asked


def _resolved(graph: Graph, workload: Workload) -> ResolvedPolicies:
    traffic: Traffic = "gateway" if workload.gateway else "inbound"
    labels = tuple(sorted(workload.labels.items()))
    return graph.get(pipeline.resolve, policies.of_proxy(graph, workload.namespace, labels, NodeMetadata({}), traffic))


def _without_mutual_tls(resolved: ResolvedPolicies, call: Call) -> Decision | None:
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
        path=normalized(call.path, config.path_normalization) if http else "",
        host=call.host if http else "",
        headers=call.headers if http else {},
    )


# -- external authorizers -----------------------------------------------------------------------


def _asked(authorization: Authorization, request: rbac.Request, tcp: bool) -> Decision | None:
    """What is known before the authorizers are asked; None: none is asked."""
    asked = None
    for name, authorizer in authorization.authorizers:
        mine = [p for p in authorization.of("CUSTOM") if p.authorizer == name]
        if authorizer is None:
            which = f"{mine[0].namespace}/{mine[0].name}"
            return Decision(
                "deny", "CUSTOM", which, None, f"the provider {name!r} is not known, so everything is refused"
            )
        rules = emit.rules(mine, "CUSTOM", authorization.trust_domains, tcp)
        matched = rbac.matching(rules, request) if rules is not None else None
        if matched is None:
            continue
        if tcp and authorizer.http is not None:
            text = f"the provider {name!r} speaks HTTP and cannot be asked about connections"
            return _by_name("deny", "CUSTOM", matched, text)
        if asked is None:
            asked = _by_name("none", "CUSTOM", matched, f"the provider {name!r} decides; other policies allow it")
    return asked


def _by_name(decision: Literal["allow", "deny", "none"], action: str, name: str, reason: str) -> Decision:
    found = _NAME.search(name)
    if found is None:
        return Decision(decision, action, None, None, reason)
    return Decision(decision, action, f"{found['namespace']}/{found['name']}", int(found["rule"]), reason)


# -- tokens -------------------------------------------------------------------------------------


def _with_token(tokens: TokenRules, call: Call, request: rbac.Request) -> rbac.Request | Decision:
    """The request with the claims of its token; or the refusal of the token, or of its absence."""
    rules = [rule for rule, _ in tokens.rules]
    required = [rule for rule in rules if rule.presence == "REQUIRED"]
    sources = ", ".join(_policy(key) for key in tokens.sources)
    if call.claims is None:
        if not required:
            return request
        return Decision("deny", "JWT", None, None, f"a token is missing (401), which {sources} demands")
    if not rules:
        return request  # nobody reads the token
    issued = [rule for rule in required or rules if rule.issuer in ("", call.claims.get("iss"))]
    if not issued:
        text = f"no rule of {sources} is for the issuer {call.claims.get('iss')!r} of the token (401)"
        return Decision("deny", "JWT", None, None, text)
    rule = next((rule for rule in issued if _is_for(rule, call.claims)), None)
    if rule is None:
        return Decision("deny", "JWT", None, None, f"the token is for no audience of {sources} (403)")
    payload = {
        name: value.split()
        if isinstance(value, str) and name in (*_SPACE_DELIMITED, *rule.space_delimited_claims)
        else value
        for name, value in call.claims.items()
    }
    return replace(request, metadata={jwt_claims.FILTER: {jwt_claims.PAYLOAD: payload}})


def _is_for(rule: JWTRule, claims: Mapping[str, Any]) -> bool:
    audiences = claims.get("aud", [])
    given = {audiences} if isinstance(audiences, str) else set(audiences)
    return not rule.audiences or bool(given & set(rule.audiences))


# -- policies -----------------------------------------------------------------------------------


def _misses(rules: RBAC, request: rbac.Request) -> str:
    """Which part of each rule does not match; those that fail in one part only come first."""
    parts: list[tuple[int, str]] = []
    for name in sorted(rules.policies):
        policy, found = rules.policies[name], _NAME.search(name)
        if found is None or not policy.permissions or not policy.principals:
            continue
        failed = [
            part
            for part, holds in (
                ("from", any(rbac.is_one(one, request) for one in policy.principals)),
                ("to", any(rbac.permits(one, request) for one in policy.permissions)),
            )
            if not holds
        ]
        named = f"{found['namespace']}/{found['name']}"
        empty = policy.permissions[0].not_rule.any  # what a policy without rules becomes
        parts.append(
            (
                len(failed),
                f"{named} has no rules" if empty else f"{named} rule {found['rule']} by {' and '.join(failed)}",
            )
        )
    texts = [text for _, text in sorted(parts)]
    return ", ".join(texts[:_MISSES]) + (f", and {len(texts) - _MISSES} more" if len(texts) > _MISSES else "")


def _judged(authorization: Authorization, request: rbac.Request, tcp: bool) -> Decision:
    """What DENY and ALLOW policies decide."""
    domains = authorization.trust_domains
    for action in ("DENY", "ALLOW"):
        of_action = authorization.of(action)
        rules = emit.rules(of_action, action, domains, tcp)
        if rules is None:
            continue
        matched = rbac.matching(rules, request)
        if matched is not None:
            verb: Literal["allow", "deny"] = "allow" if action == "ALLOW" else "deny"
            return _by_name(verb, action, matched, f"a rule of this {action} policy matches")
        if action == "ALLOW":
            return Decision(
                "deny", action, None, None, f"no rule of an ALLOW policy matches: {_misses(rules, request)}"
            )
    if authorization.of("DENY"):
        return Decision("allow", None, None, None, "no DENY policy matches, and there is no ALLOW policy")
    return Decision("none", None, None, None, "no policy applies to the workload: everything is allowed")
