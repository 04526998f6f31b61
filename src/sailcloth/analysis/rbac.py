"""Evaluates Envoy's RBAC rules without an Envoy: the messages of `envoy.config.rbac.v3` that AuthorizationPolicies are translated to.

A differential test compares it with a real Envoy. Must not know Istio's fields.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher


@dataclass(frozen=True)
class Request:
    """The attributes of a request, or of a connection (method and path empty), that Envoy matches.

    principal: the URI of the peer's certificate, `spiffe://…`; empty: no mutual TLS. source_ip: the connection's source.
    remote_ip: the client in front of proxies. metadata: of other filters, by filter name, as JSON.
    """

    principal: str = ""
    source_ip: str = ""
    remote_ip: str = ""
    destination_ip: str = ""
    port: int = 0
    server_name: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """The value of a header or pseudo-header; None if the request does not have it."""
        pseudo = {":method": self.method, ":path": self.path, ":authority": self.host, "host": self.host}
        if name.lower() in pseudo:
            return pseudo[name.lower()] or None
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


def matched_policy(rules: RBAC, request: Request) -> str | None:
    """The name of the first policy, in Envoy's order, that matches; None if none does."""
    for name in sorted(rules.policies):
        policy = rules.policies[name]
        if any(matches_permission(p, request) for p in policy.permissions) and any(
            matches_principal(p, request) for p in policy.principals
        ):
            return name
    return None


def matches_permission(permission: Permission, request: Request) -> bool:
    """Whether the request matches a permission."""
    match permission.WhichOneof("rule"):
        case "any":
            return True
        case "and_rules":
            return all(matches_permission(rule, request) for rule in permission.and_rules.rules)
        case "or_rules":
            return any(matches_permission(rule, request) for rule in permission.or_rules.rules)
        case "not_rule":
            return not matches_permission(permission.not_rule, request)
        case "header":
            return _header(permission.header, request)
        case "url_path":
            return bool(request.path) and matches_string(permission.url_path.path, _without_query(request.path))
        case "uri_template":
            config = uri_template_match_pb2.UriTemplateMatchConfig()
            permission.uri_template.typed_config.Unpack(config)
            return bool(_template(config.path_template).fullmatch(_without_query(request.path)))
        case "destination_port":
            return permission.destination_port == request.port
        case "destination_ip":
            return _in(permission.destination_ip, request.destination_ip)
        case "requested_server_name":
            return matches_string(permission.requested_server_name, request.server_name)
        case "metadata":
            return _metadata(permission.metadata, request)
        case other:
            raise NotImplementedError(f"permission {other}")


def matches_principal(principal: Principal, request: Request) -> bool:
    """Whether the caller matches a principal."""
    match principal.WhichOneof("identifier"):
        case "any":
            return True
        case "and_ids":
            return all(matches_principal(identifier, request) for identifier in principal.and_ids.ids)
        case "or_ids":
            return any(matches_principal(identifier, request) for identifier in principal.or_ids.ids)
        case "not_id":
            return not matches_principal(principal.not_id, request)
        case "authenticated":
            return bool(request.principal) and matches_string(principal.authenticated.principal_name, request.principal)
        case "direct_remote_ip":
            return _in(principal.direct_remote_ip, request.source_ip)
        case "remote_ip":
            return _in(principal.remote_ip, request.remote_ip or request.source_ip)
        case "header":
            return _header(principal.header, request)
        case "metadata":
            return _metadata(principal.metadata, request)
        case other:
            raise NotImplementedError(f"principal {other}")


def matches_string(matcher: StringMatcher, value: str) -> bool:
    """Whether a value matches."""
    if matcher.ignore_case:
        value = value.lower()

    def folded(pattern: str) -> str:
        return pattern.lower() if matcher.ignore_case else pattern

    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return value == folded(matcher.exact)
        case "prefix":
            return value.startswith(folded(matcher.prefix))
        case "suffix":
            return value.endswith(folded(matcher.suffix))
        case "contains":
            return folded(matcher.contains) in value
        case "safe_regex":
            return re.fullmatch(matcher.safe_regex.regex, value) is not None
        case other:
            raise NotImplementedError(f"string matcher {other}")


def _header(matcher: HeaderMatcher, request: Request) -> bool:
    value = request.header(matcher.name)
    if matcher.WhichOneof("header_match_specifier") == "present_match":
        matched = (value is not None) == matcher.present_match
    else:
        matched = value is not None and matches_string(matcher.string_match, value)
    return matched != matcher.invert_match


def _in(cidr: CidrRange, address: str) -> bool:
    if not address:
        return False
    network = ipaddress.ip_network(f"{cidr.address_prefix}/{cidr.prefix_len.value}", strict=False)
    return ipaddress.ip_address(address) in network


def _metadata(matcher: MetadataMatcher, request: Request) -> bool:
    value: Any = request.metadata.get(matcher.filter)
    for segment in matcher.path:
        value = value.get(segment.key) if isinstance(value, Mapping) else None
    return _value(matcher.value, value) != matcher.invert


def _value(matcher: ValueMatcher, value: Any) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "string_match":
            return isinstance(value, str) and matches_string(matcher.string_match, value)
        case "list_match":
            return isinstance(value, list) and any(_value(matcher.list_match.one_of, item) for item in value)
        case "or_match":
            return any(_value(item, value) for item in matcher.or_match.value_matchers)
        case "present_match":
            return (value is not None) == matcher.present_match
        case other:
            raise NotImplementedError(f"value {other}")


def _without_query(path: str) -> str:
    return re.split("[?#]", path, maxsplit=1)[0]


@lru_cache(maxsize=1024)
def _template(template: str) -> re.Pattern[str]:
    """A URI template as a regular expression: `*` is one non-empty segment, `**` any number of segments."""
    parts = re.split(r"(\*\*|\*)", template)
    return re.compile("".join({"*": "[^/]+", "**": ".*"}.get(part) or re.escape(part) for part in parts))
