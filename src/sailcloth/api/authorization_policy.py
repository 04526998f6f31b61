"""AuthorizationPolicy (security.istio.io): which clients may access which workloads."""

from __future__ import annotations

from typing import Annotated, Literal

from .attachment import Attached, ConstraintOneAttachment
from .meta import Constraint, D, Object, Struct


class Source(Struct):
    """The source of a request; all fields that are set must match."""

    principals: Annotated[tuple[str, ...], D("Identities of workloads, as trust-domain/ns/namespace/sa/account.")] = ()
    not_principals: Annotated[tuple[str, ...], D("Identities of workloads that do not match.")] = ()
    request_principals: Annotated[tuple[str, ...], D("Identities of tokens, as issuer/subject.")] = ()
    not_request_principals: Annotated[tuple[str, ...], D("Identities of tokens that do not match.")] = ()
    namespaces: Annotated[tuple[str, ...], D("Namespaces of workloads.")] = ()
    not_namespaces: Annotated[tuple[str, ...], D("Namespaces of workloads that do not match.")] = ()
    service_accounts: Annotated[
        tuple[Annotated[str, Constraint(maxLength=320)], ...],
        D("Service accounts, as [namespace/]name."),
        Constraint(maxItems=16),
    ] = ()
    not_service_accounts: Annotated[
        tuple[Annotated[str, Constraint(maxLength=320)], ...],
        D("Service accounts that do not match."),
        Constraint(maxItems=16),
    ] = ()
    trust_domains: Annotated[tuple[str, ...], D("Trust domains of workloads.")] = ()
    not_trust_domains: Annotated[tuple[str, ...], D("Trust domains of workloads that do not match.")] = ()
    ip_blocks: Annotated[tuple[str, ...], D("Addresses of the peer, IP or CIDR.")] = ()
    not_ip_blocks: Annotated[tuple[str, ...], D("Addresses of the peer that do not match.")] = ()
    remote_ip_blocks: Annotated[tuple[str, ...], D("Addresses of the client before proxies, IP or CIDR.")] = ()
    not_remote_ip_blocks: Annotated[tuple[str, ...], D("Addresses of the client that do not match.")] = ()


class Operation(Struct):
    """The operation of a request; all fields that are set must match."""

    hosts: Annotated[tuple[str, ...], D("Hosts of requests.")] = ()
    not_hosts: Annotated[tuple[str, ...], D("Hosts that do not match.")] = ()
    ports: Annotated[tuple[str, ...], D("Ports of the workload.")] = ()
    not_ports: Annotated[tuple[str, ...], D("Ports that do not match.")] = ()
    methods: Annotated[tuple[str, ...], D("HTTP methods.")] = ()
    not_methods: Annotated[tuple[str, ...], D("HTTP methods that do not match.")] = ()
    paths: Annotated[tuple[str, ...], D("Paths, with a wildcard at one end, or templates with {*} and {**}.")] = ()
    not_paths: Annotated[tuple[str, ...], D("Paths that do not match.")] = ()


ConstraintSource = Constraint(
    (
        "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
        "Cannot set serviceAccounts with namespaces or principals",
    )
)


class From(Struct):
    """One source."""

    source: Annotated[Source | None, D("The caller."), ConstraintSource] = None


class To(Struct):
    """One operation."""

    operation: Annotated[Operation | None, D("The call.")] = None


class Condition(Struct):
    """A further condition on an attribute."""

    key: Annotated[str, D("Name of the attribute, such as request.headers[x-user]."), Constraint(required=True)] = ""
    values: Annotated[tuple[str, ...], D("Values; one of them must match.")] = ()
    not_values: Annotated[tuple[str, ...], D("Values; none of them may match.")] = ()


class Rule(Struct):
    """Matches if some source, some operation and all conditions match; an empty rule matches everything."""

    from_: Annotated[tuple[From, ...], D("Sources of requests; default any."), Constraint(maxItems=512)] = ()
    to: Annotated[tuple[To, ...], D("Operations of requests; default any.")] = ()
    when: Annotated[tuple[Condition, ...], D("Further conditions.")] = ()


class ExtensionProvider(Struct):
    """An external authorizer from the mesh options."""

    name: Annotated[str, D("Its name.")] = ""


class AuthorizationPolicySpec(Attached):
    """An action, and the requests that it applies to."""

    rules: Annotated[
        tuple[Rule, ...], D("Requests it applies to; ALLOW without rules allows nothing."), Constraint(maxItems=512)
    ] = ()
    action: Annotated[Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"], D("Action for matching requests.")] = "ALLOW"
    provider: Annotated[ExtensionProvider | None, D("External authorizer (CUSTOM only).")] = None


class AuthorizationPolicy(Object):
    """Controls access to workloads."""

    spec: Annotated[AuthorizationPolicySpec, ConstraintOneAttachment] = AuthorizationPolicySpec()
