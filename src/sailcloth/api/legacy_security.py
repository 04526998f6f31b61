"""The security kinds of Istio 1.0 to 1.5 (authentication.istio.io, rbac.istio.io). Source: istio.md 1.14."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import D, NotEmpty, Object, Struct

# -- authentication.istio.io ------------------------------------------------------------------------


class LegacyStringMatch(Struct):
    """A match of a text by one of its fields."""

    exact: Annotated[str | None, D("The whole text.")] = None
    prefix: Annotated[str | None, D("Start of the text.")] = None
    suffix: Annotated[str | None, D("End of the text.")] = None
    regex: Annotated[str | None, D("Regular expression for the whole text.")] = None


class LegacyPort(Struct):
    """A port of a service."""

    number: Annotated[int | None, D("Number of the port.")] = None
    name: Annotated[str | None, D("Name of the port.")] = None


class PolicyTarget(Struct):
    """A service, and its ports."""

    name: Annotated[str, D("Name of the service in the policy's namespace.")] = ""
    ports: Annotated[tuple[LegacyPort, ...], D("Ports of the service; default all.")] = ()


class LegacyMutualTls(Struct):
    """Mutual TLS between workloads."""

    allow_tls: Annotated[bool | None, D("Also accept plain text (deprecated: use mode PERMISSIVE).")] = None
    mode: Annotated[Literal["STRICT", "PERMISSIVE"] | None, D("STRICT or PERMISSIVE; default STRICT.")] = None


class TriggerRule(Struct):
    """Paths that need a token."""

    excluded_paths: Annotated[tuple[LegacyStringMatch, ...], D("Paths that need none.")] = ()
    included_paths: Annotated[tuple[LegacyStringMatch, ...], D("Paths that need one; default all others.")] = ()


class LegacyJwt(Struct):
    """An issuer of end-user tokens."""

    issuer: Annotated[str, D("The issuer, as in the token.")] = ""
    audiences: Annotated[tuple[str, ...], D("Audiences; the token must have one of them.")] = ()
    jwks_uri: Annotated[str | None, D("URL of the issuer's keys.")] = None
    jwks: Annotated[str | None, D("The issuer's keys, as JSON.")] = None
    jwt_headers: Annotated[tuple[str, ...], D("Headers with the token.")] = ()
    jwt_params: Annotated[tuple[str, ...], D("Query parameters with the token.")] = ()
    trigger_rules: Annotated[tuple[TriggerRule, ...], D("Requests that need a token; default all.")] = ()


class PeerMethod(Struct):
    """A way in which callers authenticate. Empty: mutual TLS."""

    mtls: Annotated[LegacyMutualTls | None, D("Mutual TLS.")] = None
    jwt: Annotated[LegacyJwt | None, D("Not implemented, as in Istio.")] = None


class OriginMethod(Struct):
    """A way in which end users authenticate."""

    jwt: Annotated[LegacyJwt | None, D("Tokens of one issuer.")] = None


class LegacyPolicySpec(Struct):
    """How callers of services authenticate."""

    targets: Annotated[tuple[PolicyTarget, ...], D("Services; none: all of the namespace, by the name default.")] = ()
    peers: Annotated[tuple[PeerMethod, ...], D("How workloads authenticate; none: plain text.")] = ()
    peer_is_optional: Annotated[bool, D("Also accept callers that do not authenticate.")] = False
    origins: Annotated[tuple[OriginMethod, ...], D("How end users authenticate.")] = ()
    origin_is_optional: Annotated[bool, D("Also accept requests without a token.")] = False
    principal_binding: Annotated[Literal["USE_PEER", "USE_ORIGIN"] | None, D("Whose identity authorization sees.")] = (
        None
    )


class LegacyPolicy(Object):
    """Defines how callers of services authenticate (Istio 1.0 to 1.5); replaced by PeerAuthentication and RequestAuthentication."""

    spec: LegacyPolicySpec = LegacyPolicySpec()


class MeshPolicy(Object):
    """Defines how callers of all services authenticate (Istio 1.0 to 1.5); replaced by PeerAuthentication in the root namespace."""

    spec: LegacyPolicySpec = LegacyPolicySpec()


# -- rbac.istio.io ------------------------------------------------------------------------------------


class RbacTarget(Struct):
    """Services, by name and by namespace."""

    services: Annotated[tuple[str, ...], D("Full names of services.")] = ()
    namespaces: Annotated[tuple[str, ...], D("Namespaces.")] = ()


class RbacConfigSpec(Struct):
    """Which services refuse what no ServiceRoleBinding allows."""

    mode: Annotated[
        Literal["OFF", "ON", "ON_WITH_INCLUSION", "ON_WITH_EXCLUSION"],
        D("For no, all, the named, or all other services."),
    ] = "OFF"
    inclusion: Annotated[RbacTarget | None, D("The services, with ON_WITH_INCLUSION.")] = None
    exclusion: Annotated[RbacTarget | None, D("The other services, with ON_WITH_EXCLUSION.")] = None
    enforcement_mode: Annotated[Literal["ENFORCED", "PERMISSIVE"] | None, D("PERMISSIVE only counts.")] = None


class RbacConfig(Object):
    """Turns role-based access control on (Istio 1.0 to 1.5), unless there is a ClusterRbacConfig."""

    spec: RbacConfigSpec = RbacConfigSpec()


class ClusterRbacConfig(Object):
    """Turns role-based access control on (Istio 1.1 to 1.5); replaced by AuthorizationPolicy."""

    spec: RbacConfigSpec = RbacConfigSpec()


class RoleConstraint(Struct):
    """A further condition on a request or its destination."""

    key: Annotated[str, D("Name of the attribute, such as destination.labels[version].")] = ""
    values: Annotated[tuple[str, ...], D("Values; one of them must match.")] = ()


class AccessRule(Struct):
    """Requests to services; all fields that are set must match."""

    services: Annotated[tuple[NotEmpty, ...], D("Full names of services; a wildcard at one end, or *.")] = ()
    hosts: Annotated[tuple[str, ...], D("Hosts of requests.")] = ()
    not_hosts: Annotated[tuple[str, ...], D("Hosts that do not match.")] = ()
    paths: Annotated[tuple[str, ...], D("Paths; of gRPC /package.service/method.")] = ()
    not_paths: Annotated[tuple[str, ...], D("Paths that do not match.")] = ()
    methods: Annotated[tuple[str, ...], D("HTTP methods.")] = ()
    not_methods: Annotated[tuple[str, ...], D("HTTP methods that do not match.")] = ()
    ports: Annotated[tuple[int, ...], D("Ports of the workload.")] = ()
    not_ports: Annotated[tuple[int, ...], D("Ports that do not match.")] = ()
    constraints: Annotated[tuple[RoleConstraint, ...], D("Further conditions.")] = ()


class ServiceRoleSpec(Struct):
    """What a role may do."""

    rules: Annotated[tuple[AccessRule, ...], D("Requests that the role allows.")] = ()


class ServiceRole(Object):
    """A set of requests (Istio 1.0 to 1.5); replaced by AuthorizationPolicy."""

    spec: ServiceRoleSpec = ServiceRoleSpec()


class RoleRef(Struct):
    """A role in the namespace."""

    kind: Annotated[str, D("ServiceRole.")] = ""
    name: Annotated[str, D("Name of the ServiceRole.")] = ""


class Subject(Struct):
    """Callers; all fields that are set must match."""

    user: Annotated[str | None, D("Identity of a workload; * is anyone.")] = None
    names: Annotated[tuple[str, ...], D("Identities of workloads; * is any that authenticates.")] = ()
    not_names: Annotated[tuple[str, ...], D("Identities that do not match.")] = ()
    group: Annotated[str | None, D("Group of the token (deprecated: use groups).")] = None
    groups: Annotated[tuple[str, ...], D("Groups of the token: its claim groups.")] = ()
    not_groups: Annotated[tuple[str, ...], D("Groups that do not match.")] = ()
    namespaces: Annotated[tuple[str, ...], D("Namespaces of workloads.")] = ()
    not_namespaces: Annotated[tuple[str, ...], D("Namespaces that do not match.")] = ()
    ips: Annotated[tuple[str, ...], D("Addresses, IP or CIDR.")] = ()
    not_ips: Annotated[tuple[str, ...], D("Addresses that do not match.")] = ()
    properties: Annotated[dict[str, str], D("Further conditions, such as source.namespace.")] = {}


class ServiceRoleBindingSpec(Struct):
    """Who has a role."""

    subjects: Annotated[tuple[Subject, ...], D("Callers that have the role.")] = ()
    role_ref: Annotated[RoleRef | None, D("The role.")] = None
    role: Annotated[str | None, D("Name of the role.")] = None
    actions: Annotated[tuple[AccessRule, ...], D("Requests, in place of a role.")] = ()
    mode: Annotated[Literal["ENFORCED", "PERMISSIVE"] | None, D("PERMISSIVE only counts.")] = None


class ServiceRoleBinding(Object):
    """Gives callers a role (Istio 1.0 to 1.5); replaced by AuthorizationPolicy."""

    spec: ServiceRoleBindingSpec = ServiceRoleBindingSpec()
