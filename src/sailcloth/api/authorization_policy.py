"""AuthorizationPolicy (security.istio.io): who may call what."""

from __future__ import annotations

from typing import Annotated, Literal

from .attachment import Attached, ConstraintOneAttachment
from .meta import Constraint, D, Object, Struct


class Source(Struct):
    """Who calls; all that is given must hold."""

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
    ip_blocks: Annotated[tuple[str, ...], D("Addresses of the peer, IP or CIDR.")] = ()
    not_ip_blocks: Annotated[tuple[str, ...], D("Addresses of the peer that do not match.")] = ()
    remote_ip_blocks: Annotated[tuple[str, ...], D("Addresses of the client before proxies, IP or CIDR.")] = ()
    not_remote_ip_blocks: Annotated[tuple[str, ...], D("Addresses of the client that do not match.")] = ()


class Operation(Struct):
    """What is called; all that is given must hold."""

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
    """One kind of caller."""

    source: Annotated[Source | None, D("The caller."), ConstraintSource] = None


class To(Struct):
    """One kind of call."""

    operation: Annotated[Operation | None, D("The call.")] = None


class Condition(Struct):
    """A further condition on an attribute."""

    key: Annotated[str, D("Name of the attribute, such as request.headers[x-user]."), Constraint(required=True)] = ""
    values: Annotated[tuple[str, ...], D("Values of which one must match.")] = ()
    not_values: Annotated[tuple[str, ...], D("Values of which none may match.")] = ()


class Rule(Struct):
    """Matches if some source, some operation and all conditions match; an empty rule matches everything."""

    from_: Annotated[tuple[From, ...], D("Who calls; default anyone."), Constraint(maxItems=512)] = ()
    to: Annotated[tuple[To, ...], D("What is called; default anything.")] = ()
    when: Annotated[tuple[Condition, ...], D("Further conditions.")] = ()


class ExtensionProvider(Struct):
    """An authorizer that the mesh options name."""

    name: Annotated[str, D("Its name.")] = ""


class AuthorizationPolicySpec(Attached):
    """An action, and the requests that it is for."""

    rules: Annotated[
        tuple[Rule, ...], D("Requests it is for; ALLOW without rules allows nothing."), Constraint(maxItems=512)
    ] = ()
    action: Annotated[Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"], D("What happens to requests that match.")] = "ALLOW"
    provider: Annotated[ExtensionProvider | None, D("Who decides (CUSTOM only).")] = None


class AuthorizationPolicy(Object):
    """Controls access to workloads."""

    spec: Annotated[AuthorizationPolicySpec, ConstraintOneAttachment] = AuthorizationPolicySpec()
