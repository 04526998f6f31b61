"""Policy and MeshPolicy: how callers of services, and end users, authenticate.

Of the levels mesh, namespace and service only the narrowest held, without merging, and a policy without peers meant plain text. So each
level gets whole objects, and each service the tokens of its own narrowest level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from sailcloth.api.authorization_policy import (
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    From,
    Operation,
    Rule,
    Source,
    To,
)
from sailcloth.api.legacy_security import (
    LegacyJwt,
    LegacyPolicy,
    LegacyPolicySpec,
    LegacyStringMatch,
    MeshPolicy,
    PolicyTarget,
    TriggerRule,
)
from sailcloth.api.meta import Key, Object, Selector
from sailcloth.api.peer_authentication import MutualTLS, PeerAuthentication, PeerAuthenticationSpec
from sailcloth.api.request_authentication import JWTHeader, JWTRule, RequestAuthentication, RequestAuthenticationSpec
from sailcloth.mesh.model import MeshConfig

from .service import Converted, LegacyService, metadata

_Policy = tuple[Key, LegacyPolicySpec]
Mode = Literal["DISABLE", "PERMISSIVE", "STRICT"]
_NO_TOKEN = (From(source=Source(not_request_principals=("*",))),)


def convert(
    objects: Mapping[Key, Object], services: Sequence[LegacyService], config: MeshConfig, converted: Converted
) -> None:
    """Add what all policies stand for."""
    mesh, namespaces, targeted = _levels(objects, converted)
    if mesh is not None:
        _level(mesh, config.root_namespace, converted)
    for namespace, policy in namespaces.items():
        _level(policy, namespace, converted)
    for service in services:
        default = namespaces.get(service.namespace) or mesh
        own = [p for p in targeted if p[0].namespace == service.namespace and _target(p, service) is not None]
        if own:
            _of_service(service, own, default, converted)
        whole = next((p for p in own if not _ports(p, service)), default)
        for policy in own:
            if _ports(policy, service) and policy[1].origins:
                converted.note(policy[0], "origins hold for all ports of the service")
        effective = next((p for p in own if p[1].origins), whole)
        if effective is not None and effective[1].origins:
            _tokens(service, effective, converted)


def _levels(
    objects: Mapping[Key, Object], converted: Converted
) -> tuple[_Policy | None, dict[str, _Policy], list[_Policy]]:
    """(the mesh's policy, those of namespaces, those of services, the oldest first)."""
    mesh: _Policy | None = None
    namespaces: dict[str, _Policy] = {}
    targeted: list[_Policy] = []
    for key, obj in sorted(objects.items(), key=lambda item: (item[1].metadata.creation_timestamp or "", item[0])):
        if isinstance(obj, MeshPolicy):
            if key.name == "default" and not obj.spec.targets:
                mesh = key, obj.spec
            else:
                converted.note(key, "ignored: a MeshPolicy is named default and has no targets")
        elif isinstance(obj, LegacyPolicy):
            if obj.spec.targets:
                targeted.append((key, obj.spec))
            elif key.name == "default":
                namespaces[key.namespace] = key, obj.spec
            else:
                converted.note(key, "ignored: a Policy without targets is named default")
        if isinstance(obj, (LegacyPolicy, MeshPolicy)) and obj.spec.principal_binding == "USE_ORIGIN":
            converted.note(
                key, "principalBinding USE_ORIGIN has no effect: name requestPrincipals in an AuthorizationPolicy"
            )
    return mesh, namespaces, targeted


def _level(policy: _Policy, namespace: str, converted: Converted) -> None:
    """Mutual TLS of the mesh or of a namespace."""
    key, spec = policy
    name = f"{key.kind}/{key.name}"
    obj = PeerAuthentication(
        metadata=metadata(namespace, name, [key]), spec=PeerAuthenticationSpec(mtls=MutualTLS(mode=_mode(spec)))
    )
    converted.objects[Key("PeerAuthentication", namespace, name)] = obj


def _mode(spec: LegacyPolicySpec) -> Mode:
    for peer in spec.peers:
        if peer.jwt is None:
            tls = peer.mtls
            permissive = tls is not None and (tls.allow_tls or tls.mode == "PERMISSIVE")
            return "PERMISSIVE" if permissive or spec.peer_is_optional else "STRICT"
    return "DISABLE"


def _target(policy: _Policy, service: LegacyService) -> PolicyTarget | None:
    return next((t for t in policy[1].targets if t.name in (service.name, service.host)), None)


def _ports(policy: _Policy, service: LegacyService) -> set[int]:
    """Numbers of the service's ports that a policy names; empty if it names none."""
    target = _target(policy, service)
    named = target.ports if target is not None else ()
    return {
        number for number, name, _ in service.ports for p in named if number == p.number or (p.name and name == p.name)
    }


def _of_service(service: LegacyService, own: list[_Policy], default: _Policy | None, converted: Converted) -> None:
    """Mutual TLS of one service: of each port by the oldest policy that covers it."""
    sources = [key for key, _ in own]
    modes: dict[str, MutualTLS] = {}
    for number, _, target in service.ports:
        policy = next((p for p in own if not _ports(p, service) or number in _ports(p, service)), None)
        if policy is None:
            continue
        if isinstance(target, int):
            modes[str(target)] = MutualTLS(mode=_mode(policy[1]))
        else:
            converted.note(policy[0], f"port {number} of {service.name} has no effect: its target port is a name")
    whole = next((p for p in own if not _ports(p, service)), default)
    spec = PeerAuthenticationSpec(
        selector=Selector(match_labels=dict(service.selector)),
        mtls=MutualTLS(mode=_mode(whole[1]) if whole is not None else "UNSET"),
        port_level_mtls=modes,
    )
    name = f"Policy/{service.name}"
    obj = PeerAuthentication(metadata=metadata(service.namespace, name, sources), spec=spec)
    converted.objects[Key("PeerAuthentication", service.namespace, name)] = obj


# -- end users ----------------------------------------------------------------------------------


def _tokens(service: LegacyService, policy: _Policy, converted: Converted) -> None:
    key, spec = policy
    issuers = [origin.jwt for origin in spec.origins if origin.jwt is not None]
    triggers = [(rule, key) for jwt in issuers for rule in jwt.trigger_rules]
    required = not spec.origin_is_optional and not triggers
    name, selector = f"{key.kind}/{service.name}", Selector(match_labels=dict(service.selector))
    converted.objects[Key("RequestAuthentication", service.namespace, name)] = RequestAuthentication(
        metadata=metadata(service.namespace, name, [key]),
        spec=RequestAuthenticationSpec(selector=selector, jwt_rules=tuple(_rule(jwt, required) for jwt in issuers)),
    )
    if spec.origin_is_optional or not triggers:
        return
    rules = tuple(Rule(from_=_NO_TOKEN, to=_operations(rule, key, converted)) for rule, key in triggers)
    converted.objects[Key("AuthorizationPolicy", service.namespace, name)] = AuthorizationPolicy(
        metadata=metadata(service.namespace, name, [key]),
        spec=AuthorizationPolicySpec(selector=selector, action="DENY", rules=rules),
    )
    converted.note(key, "a token that is not valid is refused on every path, also where triggerRules demand none")


def _rule(jwt: LegacyJwt, required: bool) -> JWTRule:
    return JWTRule(
        issuer=jwt.issuer,
        audiences=jwt.audiences,
        jwks_uri=jwt.jwks_uri,
        jwks=jwt.jwks,
        from_headers=tuple(JWTHeader(name=name) for name in jwt.jwt_headers),
        from_params=jwt.jwt_params,
        forward_original_token=True,
        presence="REQUIRED" if required else None,
    )


def _operations(rule: TriggerRule, key: Key, converted: Converted) -> tuple[To, ...]:
    """The requests that need a token. What cannot be said makes more of them need one."""
    excluded, _ = _paths(rule.excluded_paths, key, converted)
    included, whole = _paths(rule.included_paths, key, converted)
    operation = Operation(paths=() if not whole else included, not_paths=excluded)
    return (To(operation=operation),) if operation.paths or operation.not_paths else ()


def _paths(matches: Iterable[LegacyStringMatch], key: Key, converted: Converted) -> tuple[tuple[str, ...], bool]:
    """(paths with wildcards, whether all matches can be said so)."""
    paths, whole = [], True
    for match in matches:
        if match.exact is not None:
            paths.append(match.exact)
        elif match.prefix is not None:
            paths.append(f"{match.prefix}*")
        elif match.suffix is not None:
            paths.append(f"*{match.suffix}")
        else:
            whole = False
            converted.note(key, "a path by regex has no effect: every path that it may be about needs a token")
    return tuple(paths), whole
