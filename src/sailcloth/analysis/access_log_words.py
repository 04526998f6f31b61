"""A line of an access log in words: what happened, and what each field means. Pure.

Sources: Envoy's documentation of access logs (RESPONSE_FLAGS, RESPONSE_CODE_DETAILS), Istio's default format. Must not parse lines
(`lib.access_log_lines`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sailcloth.lib import access_log_lines

FLAGS: Mapping[str, str] = {
    "DC": "the client closed the connection before the response was complete",
    "DF": "the name of the upstream host could not be resolved",
    "DI": "a fault of a VirtualService delayed the request",
    "DO": "the request was dropped by an overload setting of the cluster",
    "DPE": "the client broke the HTTP protocol",
    "DR": "the client reset the stream",
    "DT": "the request or connection took longer than its longest duration",
    "FI": "a fault of a VirtualService aborted the request",
    "IH": "the request has a header that Envoy does not accept in strict mode",
    "LH": "the service failed a health check of the proxy",
    "LR": "the proxy reset the connection",
    "NC": "the route leads to a cluster that the proxy does not have: look for a subset without a DestinationRule",
    "NFCF": "the proxy had not yet received the configuration of a filter",
    "NR": "no route matches the request: compare host and path with the VirtualService's, and the client's port with the service's",
    "OM": "the proxy has too little memory or too many connections, and sheds load",
    "RFCF": "the response came from a cache",
    "RL": "a rate limit refused the request",
    "RLSE": "the rate limit service did not answer",
    "SI": "the stream was idle for too long",
    "UAEX": "an external authorizer refused the request",
    "UC": "the upstream closed the connection: it crashed, restarted, or closes idle connections earlier than the proxy",
    "UF": "the connection to the upstream failed: nothing listens at the address, or TLS does not match",
    "UH": "no healthy upstream: the service has no ready endpoint, or outlier detection has ejected all",
    "UMSDR": "the upstream took longer than the route's longest duration",
    "UO": "a circuit breaker is open: the connection pool's limits of a DestinationRule are reached",
    "UPE": "the upstream's response breaks the HTTP protocol: is the port's protocol right?",
    "UR": "the upstream reset the stream",
    "URX": "retries or connection attempts are used up",
    "UT": "the upstream did not answer within the route's timeout",
}
_DETAILS: tuple[tuple[str, str], ...] = (
    ("via_upstream", "the upstream's own response"),
    ("direct_response", "the proxy answered by a rule, without an upstream"),
    ("route_not_found", "no route matches"),
    ("cluster_not_found", "the route's cluster is not there"),
    ("no_healthy_upstream", "no endpoint is healthy"),
    ("upstream_response_timeout", "the route's timeout is over"),
    ("upstream_per_try_timeout", "the timeout of one attempt is over"),
    ("upstream_reset_before_response_started", "the upstream's connection ended before it answered"),
    ("upstream_reset_after_response_started", "the upstream's connection ended in the middle of its answer"),
    ("downstream_remote_disconnect", "the client went away"),
    ("rbac_access_denied", "an AuthorizationPolicy refused the request"),
    ("ext_authz_denied", "an external authorizer refused the request"),
    ("ext_authz_error", "the external authorizer did not answer"),
    ("jwt_authn_access_denied", "the request's token is missing or not valid"),
    ("fault_filter_abort", "a fault of a VirtualService aborted the request"),
    ("request_rate_limited", "a rate limit refused the request"),
    ("local_rate_limited", "a rate limit of the proxy refused the request"),
    ("overload", "a limit is reached"),
    ("http1.", "the message breaks HTTP/1"),
    ("http2.", "the message breaks HTTP/2"),
)
_FIELDS: Mapping[str, str] = {
    "start_time": "when the request began, in UTC",
    "method": "of the request",
    "path": "as the client sent it, or as a rule has rewritten it",
    "protocol": "that the client speaks",
    "response_code": "of HTTP; 0: no response",
    "response_flags": "why Envoy itself answered or ended the request",
    "response_code_details": "who set the code, and why",
    "connection_termination_details": "why Envoy ended the connection",
    "upstream_transport_failure_reason": "why TLS with the upstream failed",
    "bytes_received": "of the request's body",
    "bytes_sent": "of the response's body",
    "duration": "milliseconds from the request's first byte to the response's last",
    "upstream_service_time": "milliseconds that the upstream took",
    "x_forwarded_for": "the client's address, as gateways tell it",
    "user_agent": "of the client",
    "request_id": "the same in all proxies of this request",
    "authority": "the host that the client asked for",
    "upstream_host": "the endpoint that got the request",
    "upstream_cluster": "direction, port, subset and service of that endpoint",
    "upstream_local_address": "the proxy's side of the connection to the upstream",
    "downstream_local_address": "the address that the client connected to",
    "downstream_remote_address": "the client's address",
    "requested_server_name": "the name in the client's TLS handshake",
    "route_name": "the route that matched",
}


@dataclass(frozen=True)
class Field:
    """A field of a line. `meaning`: of this value, or else of the field."""

    name: str
    value: str
    meaning: str


def explain(line: str) -> tuple[str, list[Field]] | None:
    """(one sentence about what happened, the fields that have values); None if it is no line of an access log."""
    fields = access_log_lines.parse(line)
    if fields is None:
        return None
    ordered = [*(name for name in _FIELDS if name in fields), *(name for name in fields if name not in _FIELDS)]
    shown = [
        Field(name, str(fields[name]), _meaning(name, fields[name])) for name in ordered if fields[name] is not None
    ]
    return _sentence(fields), shown


def flags_in_words(flags: Any) -> list[str]:
    """What response flags, apart by commas, mean."""
    names = [name for name in re.split(r"[,\s]+", str(flags or "")) if name not in ("", "-")]
    return [FLAGS.get(name, f"Envoy's flag {name}") for name in names]


def _details_in_words(details: Any) -> str:
    text = str(details or "")
    return next((words for start, words in _DETAILS if text.startswith(start)), "")


def _meaning(name: str, value: Any) -> str:
    if name == "response_flags":
        return "; ".join(flags_in_words(value)) or _FIELDS[name]
    if name == "response_code_details":
        return _details_in_words(value) or _FIELDS[name]
    if name == "upstream_cluster":
        return _cluster_in_words(str(value)) or _FIELDS[name]
    return _FIELDS.get(name, "")


def _cluster_in_words(cluster: str) -> str:
    parts = cluster.split("|")
    if len(parts) != 4:
        return {
            "PassthroughCluster": "an address that no service has, passed through",
            "BlackHoleCluster": "an address that no service has, refused",
        }.get(cluster, "")
    direction, port, subset, host = parts
    if direction == "inbound":
        return f"the proxy's own application, at port {port}"
    return f"port {port} of {host}{f', subset {subset}' if subset else ''}"


def _sentence(fields: Mapping[str, Any]) -> str:
    """What happened, in one sentence."""
    into = access_log_lines.inbound(dict(fields))
    method, path = fields.get("method"), fields.get("path")
    what = f"{method} {path}" if method else "connection"
    host = f" for {fields['authority']}" if fields.get("authority") else ""
    duration = f" after {fields['duration']} ms" if fields.get("duration") is not None else ""
    code = fields.get("response_code")
    result = (
        f"answered {code}{duration}"
        if method and code
        else f"ended{duration}"
        if not method
        else f"no response{duration}"
    )
    reasons = flags_in_words(fields.get("response_flags"))
    if not reasons and (details := _details_in_words(fields.get("response_code_details"))):
        reasons = [details]
    return (
        f"{'Inbound' if into else 'Outbound'} {what}{host}: {result}{', because ' if _is_failure(fields) and reasons else ''}"
        + ("; ".join(reasons) if _is_failure(fields) else "")
    )


def _is_failure(fields: Mapping[str, Any]) -> bool:
    code = str(fields.get("response_code") or 0)
    return bool(fields.get("response_flags")) or not code.isdigit() or int(code) >= 400 or int(code) == 0
