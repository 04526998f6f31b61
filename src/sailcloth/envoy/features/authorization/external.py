"""External authorizers (action CUSTOM) as Envoy's filters: an RBAC filter that marks the requests to ask for, and `ext_authz`, which
asks for marked requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2, http_uri_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as http_pb
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_pb
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from envoy.type.v3 import http_status_pb2

from sailcloth.api.extension_provider import ExtAuthzHttp
from sailcloth.envoy import names
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import duration, typed
from sailcloth.mesh.authorizers import Authorizer

from . import emit
from .policy import Authorization, cluster_of

_HTTP_RBAC, _TCP_RBAC = "envoy.filters.http.rbac", "envoy.filters.network.rbac"
_BAD_PROVIDER = "default-deny-all-due-to-bad-CUSTOM-action"
_FORBIDDEN = 403


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """For each authorizer a filter that marks requests, and one that asks it. Without one that is known, everything is refused."""
    authorization = inputs.policies.of(Authorization)
    filters = []
    for name, authorizer in authorization.authorizers:
        if authorizer is None:
            refuse = http_rbac_pb.RBAC(rules=_everything(), shadow_rules_stat_prefix=emit.SHADOW_ALLOW)
            filters.append(hcm_pb.HttpFilter(**typed(_HTTP_RBAC, refuse)))
            continue
        rules, prefix = _rules(authorization, name, tcp=False), _prefix(authorization, name)
        mark = http_rbac_pb.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=prefix)
        filters.append(hcm_pb.HttpFilter(**typed(_HTTP_RBAC, mark)))
        filters.append(hcm_pb.HttpFilter(**typed("envoy.filters.http.ext_authz", _ask(authorizer, prefix))))
    return filters


def network_filters(inputs: FilterInputs) -> list[components.Filter]:
    """The same for a chain that forwards bytes. An authorizer that speaks HTTP cannot be asked there: what its rules match is
    refused."""
    return [components.Filter(**filter_) for filter_ in _network_filters(inputs)] if inputs.tcp else []


def _network_filters(inputs: FilterInputs) -> Iterator[dict[str, Any]]:
    authorization = inputs.policies.of(Authorization)
    for name, authorizer in authorization.authorizers:
        if authorizer is None or authorizer.http is not None:
            rules = _rules(authorization, name, tcp=True) if authorizer is not None else _everything()
            refuse = network_rbac_pb.RBAC(
                rules=rules, shadow_rules_stat_prefix=emit.SHADOW_ALLOW, stat_prefix=emit.TCP_STATS
            )
            yield typed(_TCP_RBAC, refuse)
            continue
        rules, prefix = _rules(authorization, name, tcp=True), _prefix(authorization, name)
        mark = network_rbac_pb.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=prefix, stat_prefix=emit.TCP_STATS)
        yield typed(_TCP_RBAC, mark)
        ask = network_pb.ExtAuthz(
            stat_prefix=emit.TCP_STATS,
            grpc_service=_grpc(authorizer),
            failure_mode_allow=authorizer.settings.fail_open,
            transport_api_version=config_source_pb2.V3,
            filter_enabled_metadata=_marked(_TCP_RBAC, prefix, name),
        )
        yield typed("envoy.filters.network.ext_authz", ask)


def _everything() -> rbac_pb2.RBAC:
    everyone = rbac_pb2.Policy(permissions=[rbac_pb2.Permission(any=True)], principals=[rbac_pb2.Principal(any=True)])
    return rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY, policies={_BAD_PROVIDER: everyone})


def _rules(authorization: Authorization, authorizer: str, tcp: bool) -> rbac_pb2.RBAC | None:
    """The rules of an authorizer's policies. The filter that asks it recognises them by their names."""
    policies = [p for p in authorization.of("CUSTOM") if p.authorizer == authorizer]
    return emit.rules(policies, "CUSTOM", authorization.trust_domains, tcp, prefix=_marker(authorizer))


def _prefix(authorization: Authorization, authorizer: str) -> str:
    """The prefix of the metadata with the mark; Istio's, unless there are several authorizers."""
    return "istio_ext_authz_" if len(authorization.authorizers) == 1 else f"istio_ext_authz_{authorizer}_"


def _marker(authorizer: str) -> str:
    return f"istio-ext-authz-{authorizer}"


def _marked(rbac: str, prefix: str, authorizer: str) -> metadata_pb2.MetadataMatcher:
    """Whether some rule of the authorizer's policies matches."""
    segment = metadata_pb2.MetadataMatcher.PathSegment(key=f"{prefix}shadow_effective_policy_id")
    value = value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(prefix=_marker(authorizer)))
    return metadata_pb2.MetadataMatcher(filter=rbac, path=[segment], value=value)


def _ask(authorizer: Authorizer, prefix: str) -> http_pb.ExtAuthz:
    settings = authorizer.settings
    message = http_pb.ExtAuthz(
        failure_mode_allow=settings.fail_open,
        clear_route_cache=settings.clear_route_cache,
        transport_api_version=config_source_pb2.V3,
        status_on_error=http_status_pb2.HttpStatus(code=int(settings.status_on_error or _FORBIDDEN)),  # type: ignore[arg-type]
        filter_enabled_metadata=_marked(_HTTP_RBAC, prefix, authorizer.name),
    )
    body = settings.include_request_body_in_check
    if body is not None:
        message.with_request_body.max_request_bytes = body.max_request_bytes
        message.with_request_body.allow_partial_message = body.allow_partial_message
        message.with_request_body.pack_as_bytes = body.pack_as_bytes
    if authorizer.http is None:
        message.grpc_service.CopyFrom(_grpc(authorizer))
        return message
    sent = authorizer.http.include_request_headers_in_check or authorizer.http.include_headers_in_check
    if sent:
        message.allowed_headers.patterns.extend(_headers(sent))
    message.http_service.CopyFrom(_http(authorizer, authorizer.http))
    return message


def _http(authorizer: Authorizer, settings: ExtAuthzHttp) -> http_pb.HttpService:
    uri = http_uri_pb2.HttpUri(
        uri=f"http://{authorizer.host}",
        cluster=names.outbound(cluster_of(authorizer)),
        timeout=duration(authorizer.timeout_ms),
    )
    service = http_pb.HttpService(server_uri=uri, path_prefix=settings.path_prefix)
    for name, value in settings.include_additional_headers_in_check.items():
        service.authorization_request.headers_to_add.append(base_pb2.HeaderValue(key=name, value=value))
    response = service.authorization_response
    for headers, patterns in (
        (settings.headers_to_upstream_on_allow, response.allowed_upstream_headers),
        (settings.headers_to_downstream_on_deny, response.allowed_client_headers),
        (settings.headers_to_downstream_on_allow, response.allowed_client_headers_on_success),
    ):
        if headers:
            patterns.patterns.extend(_headers(headers))
    return service


def _grpc(authorizer: Authorizer) -> grpc_service_pb2.GrpcService:
    target = grpc_service_pb2.GrpcService.EnvoyGrpc(
        cluster_name=names.outbound(cluster_of(authorizer)), authority=authorizer.host
    )
    return grpc_service_pb2.GrpcService(envoy_grpc=target, timeout=duration(authorizer.timeout_ms))


def _headers(patterns: Sequence[str]) -> Iterable[string_pb2.StringMatcher]:
    """Names of headers with a wildcard at one end."""
    for pattern in patterns:
        if pattern.startswith("*"):
            yield string_pb2.StringMatcher(suffix=pattern[1:], ignore_case=True)
        elif pattern.endswith("*"):
            yield string_pb2.StringMatcher(prefix=pattern[:-1], ignore_case=True)
        else:
            yield string_pb2.StringMatcher(exact=pattern, ignore_case=True)
