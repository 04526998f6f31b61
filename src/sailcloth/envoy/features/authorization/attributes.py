"""What the fields and conditions of a rule match, as Envoy's permissions (of the request) and principals (of the caller). Pure.

A function per attribute makes a matcher of one value. Source: istio.md 2.12.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3.rbac_pb2 import Permission, Principal
from envoy.config.route.v3 import route_components_pb2 as route_pb
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.type.matcher.v3 import metadata_pb2, path_pb2, regex_pb2, string_pb2, value_pb2

from sailcloth.api.authorization_policy import Operation, Rule, Source
from sailcloth.envoy.protobuf import pack
from sailcloth.envoy.resources import jwt_claims

T = TypeVar("T", Permission, Principal)


@dataclass(frozen=True)
class Match(Generic[T]):
    """The values of one attribute, of the caller (principals) or of the request (permissions). `http`: it exists in HTTP only. `make`
    raises ValueError for a value that validation would not let in."""

    make: Callable[[str], T]
    values: Sequence[str]
    not_values: Sequence[str]
    http: bool = False
    bare: bool = False  # a single value is not wrapped into a list of alternatives

    @property
    def is_set(self) -> bool:
        return bool(self.values or self.not_values)

    @property
    def usable(self) -> bool:
        """Whether all values can be matched."""
        try:
            for value in (*self.values, *self.not_values):
                self.make(value)
        except ValueError:
            return False
        return True


Callers = list[Match[Principal]]
Requests = list[Match[Permission]]


def of_source(source: Source, trust_domains: tuple[str, ...], namespace: str) -> Callers:
    """The attributes of a rule's source, in Istio's order. `namespace`: the policy's, of service accounts without one."""
    principals, not_principals = (_aliases(v, trust_domains) for v in (source.principals, source.not_principals))
    return [
        Match(principal, principals, not_principals),
        Match(request_principal, source.request_principals, source.not_request_principals, http=True),
        Match(caller_namespace, source.namespaces, source.not_namespaces),
        Match(partial(service_account, namespace), source.service_accounts, source.not_service_accounts),
        Match(trust_domain, source.trust_domains, source.not_trust_domains),
        Match(remote_ip, source.remote_ip_blocks, source.not_remote_ip_blocks),
        Match(source_ip, source.ip_blocks, source.not_ip_blocks),
    ]


def of_operation(operation: Operation) -> Requests:
    """The attributes of a rule's operation, in Istio's order."""
    return [
        Match(host, operation.hosts, operation.not_hosts, http=True),
        Match(method, operation.methods, operation.not_methods, http=True),
        Match(path, operation.paths, operation.not_paths, http=True),
        Match(destination_port, operation.ports, operation.not_ports),
    ]


def of_conditions(rule: Rule, trust_domains: tuple[str, ...], namespace: str) -> tuple[Callers, Requests]:
    """The attributes of a rule's conditions. One that does not exist has no usable value."""
    callers: Callers = []
    requests: Requests = []
    for condition in rule.when:
        key = condition.key
        values: Sequence[str] = condition.values
        not_values: Sequence[str] = condition.not_values
        make, http = _of_caller(key, namespace)
        if make is not None:
            if key == "source.principal":
                values, not_values = _aliases(values, trust_domains), _aliases(not_values, trust_domains)
            callers.append(Match(make, values, not_values, http))
        elif key.startswith(_METADATA):
            requests.append(Match(partial(_dynamic, key.removeprefix("experimental.")), values, not_values, bare=True))
        else:
            requests.append(Match(_OF_REQUEST.get(key, _unknown), values, not_values))
    return callers, requests


def _of_caller(key: str, namespace: str) -> tuple[Callable[[str], Principal] | None, bool]:
    """(how to match a condition on the caller, whether it exists in HTTP only); None for conditions on the request."""
    name = key.partition("[")[2].removesuffix("]")
    if key.startswith("request.headers["):
        return lambda value: Principal(header=_header(name, value)), True
    if key.startswith("request.auth.claims["):
        return partial(_with_claim, name.split("][")), True
    by_key: dict[str, tuple[Callable[[str], Principal], bool]] = {
        "source.ip": (source_ip, False),
        "remote.ip": (remote_ip, False),
        "source.namespace": (caller_namespace, False),
        "source.principal": (principal, False),
        "source.serviceAccount": (partial(service_account, namespace), False),
        "source.trustDomain": (trust_domain, False),
        "request.auth.principal": (request_principal, True),
        "request.auth.audiences": (partial(_with_claim, ("aud",)), True),
        "request.auth.presenter": (partial(_with_claim, ("azp",)), True),
    }
    return by_key.get(key, (None, False))


def _unknown(value: str) -> Permission:
    raise ValueError("there is no such attribute")


def _dynamic(key: str, value: str) -> Permission:
    """Dynamic metadata: `<filter>[<key>]`. A value in brackets is one of a list."""
    name, _, field = key.partition("[")
    in_list = value.startswith("[") and value.endswith("]")
    matcher = value_pb2.ValueMatcher(string_match=text(value.strip("[]") if in_list else value))
    if in_list:
        matcher = value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=matcher))
    return Permission(metadata=_metadata(name, (field.removesuffix("]"),), matcher))


# -- texts --------------------------------------------------------------------------------------


def text(value: str, ignore_case: bool = False) -> string_pb2.StringMatcher:
    """A value with a wildcard at one end; `*` alone matches any text that is not empty."""
    if value == "*":
        return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=".+"))
    if value.startswith("*"):
        return string_pb2.StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=value[:-1], ignore_case=ignore_case)
    return string_pb2.StringMatcher(exact=value, ignore_case=ignore_case)


def _regex(expression: str) -> string_pb2.StringMatcher:
    return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=expression))


_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def _escaped(value: str) -> str:
    """A text as an RE2 expression."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], value)


def _wild(value: str) -> str:
    """A value with wildcards as an expression."""
    return ".*".join(_escaped(part) for part in value.split("*"))


def _header(name: str, value: str, ignore_case: bool = False) -> route_pb.HeaderMatcher:
    if value == "*":
        return route_pb.HeaderMatcher(name=name, present_match=True)
    return route_pb.HeaderMatcher(name=name, string_match=text(value, ignore_case))


def _range(value: str) -> address_pb2.CidrRange:
    network = ipaddress.ip_network(value, strict=False)
    cidr = address_pb2.CidrRange(address_prefix=str(network.network_address))
    cidr.prefix_len.value = network.prefixlen
    return cidr


def _metadata(name: str, keys: Sequence[str], value: value_pb2.ValueMatcher) -> metadata_pb2.MetadataMatcher:
    segments = [metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in keys]
    return metadata_pb2.MetadataMatcher(filter=name, path=segments, value=value)


def _with_claim(keys: Sequence[str], value: str) -> Principal:
    """A claim of a token, which is a text or a list of texts."""
    return Principal(metadata=jwt_claims.matcher(keys, jwt_claims.text_or_list(text(value))))


# -- callers ------------------------------------------------------------------------------------


def _identity(matcher: string_pb2.StringMatcher) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=matcher))


def principal(value: str) -> Principal:
    """A workload's identity, `trust-domain/ns/namespace/sa/account`."""
    if value == "*":
        return _identity(_regex(".+"))
    if value.startswith("*"):
        return _identity(_regex(f"spiffe://.*{_escaped(value[1:])}"))
    return _identity(text(f"spiffe://{value}"))


def _aliases(values: Sequence[str], trust_domains: tuple[str, ...]) -> list[str]:
    """Identities with each trust domain that means the same. Those of other trust domains stay."""
    out: dict[str, None] = {}
    for value in values:
        domain, slash, rest = value.partition("/")
        if not slash or domain == "*" or not any(_covers(domain, known) for known in trust_domains):
            out[value] = None
            continue
        for known in trust_domains:
            out[value if _covers(domain, known) else f"{known}/{rest}"] = None
    return list(out)


def _covers(pattern: str, domain: str) -> bool:
    if pattern.startswith("*"):
        return domain.endswith(pattern[1:])
    return domain.startswith(pattern[:-1]) if pattern.endswith("*") else domain == pattern


def caller_namespace(value: str) -> Principal:
    """The namespace of the caller's identity."""
    return _identity(_regex(f".*/ns/{_wild(value)}/.*"))


def service_account(namespace: str, value: str) -> Principal:
    """The service account of the caller's identity, `[namespace/]name`."""
    own, slash, name = value.partition("/")
    own, name = (own, name) if slash else (namespace, value)
    return _identity(_regex(f"spiffe://.+/ns/{_escaped(own)}/(.+/|)sa/{_escaped(name)}(/.+)?"))


def trust_domain(value: str) -> Principal:
    """The trust domain of the caller's identity."""
    if "*" in value:
        return _identity(_regex(f"spiffe://{_wild(value)}/.*"))
    return _identity(string_pb2.StringMatcher(prefix=f"spiffe://{value}/"))


def source_ip(value: str) -> Principal:
    """The address of the connection's other end."""
    return Principal(direct_remote_ip=_range(value))


def remote_ip(value: str) -> Principal:
    """The address of the client before proxies."""
    return Principal(remote_ip=_range(value))


def request_principal(value: str) -> Principal:
    """The identity of a verified token, `issuer/subject`."""
    issuer, slash, subject = value.rpartition("/")
    if value == "*":
        issuer, subject = "*", "*"
    elif not slash and value.startswith("*"):
        issuer, subject = "*", value
    elif not slash:
        issuer, subject = value, "*" if value.endswith("*") else ""
    pairs = (("iss", issuer), ("sub", subject))
    ids = [
        Principal(metadata=jwt_claims.matcher((key,), value_pb2.ValueMatcher(string_match=_exact_or_wild(part))))
        for key, part in pairs
    ]
    return Principal(and_ids=Principal.Set(ids=ids))


def _exact_or_wild(value: str) -> string_pb2.StringMatcher:
    return text(value) if value else string_pb2.StringMatcher(exact="")


# -- requests -----------------------------------------------------------------------------------


def host(value: str) -> Permission:
    """The host of the request, whatever its case."""
    return Permission(header=_header(":authority", value, ignore_case=True))


def method(value: str) -> Permission:
    """The method of the request."""
    return Permission(header=_header(":method", value))


def path(value: str) -> Permission:
    """The path of the request without its query: a text with a wildcard at one end, or a template."""
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        matching = uri_template_match_pb2.UriTemplateMatchConfig(path_template=template)
        permission = Permission()
        permission.uri_template.name = "uri-template"
        permission.uri_template.typed_config.CopyFrom(pack(matching))
        return permission
    return Permission(url_path=path_pb2.PathMatcher(path=text(value)))


def destination_port(value: str) -> Permission:
    """The workload's port."""
    return Permission(destination_port=int(value))


def destination_ip(value: str) -> Permission:
    """The workload's address."""
    return Permission(destination_ip=_range(value))


def server_name(value: str) -> Permission:
    """The server name of the TLS connection."""
    return Permission(requested_server_name=text(value))


_METADATA = "experimental.envoy.filters."
_OF_REQUEST: dict[str, Callable[[str], Permission]] = {
    "destination.ip": destination_ip,
    "destination.port": destination_port,
    "connection.sni": server_name,
}
