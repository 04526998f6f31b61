"""Formats that Envoy substitutes: which commands there are, and what arguments they take.

The tables were asked of Envoy itself (`tools/format_commands.py`), since it refuses a whole route configuration for one command that
it does not know. Commands of extensions that compile what they are given (`CEL`) are left out: a wrong one would do the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_PLAIN: Final = frozenset(
    [
        "ACCESS_LOG_TYPE",
        "BYTES_RECEIVED",
        "BYTES_RETRANSMITTED",
        "BYTES_SENT",
        "CONNECTION_ID",
        "CONNECTION_TERMINATION_DETAILS",
        "CUSTOM_FLAGS",
        "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
        "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
        "DOWNSTREAM_DETECTED_CLOSE_TYPE",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
        "DOWNSTREAM_DIRECT_LOCAL_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "DOWNSTREAM_HANDSHAKE_DURATION",
        "DOWNSTREAM_HEADER_BYTES_RECEIVED",
        "DOWNSTREAM_HEADER_BYTES_SENT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
        "DOWNSTREAM_LOCAL_CLOSE_REASON",
        "DOWNSTREAM_LOCAL_DNS_SAN",
        "DOWNSTREAM_LOCAL_EMAIL_SAN",
        "DOWNSTREAM_LOCAL_IP_SAN",
        "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_LOCAL_SUBJECT",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_PEER_CERT",
        "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
        "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
        "DOWNSTREAM_PEER_CHAIN_SERIALS",
        "DOWNSTREAM_PEER_DNS_SAN",
        "DOWNSTREAM_PEER_EMAIL_SAN",
        "DOWNSTREAM_PEER_FINGERPRINT_1",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_IP_SAN",
        "DOWNSTREAM_PEER_ISSUER",
        "DOWNSTREAM_PEER_OTHERNAME_SAN",
        "DOWNSTREAM_PEER_SERIAL",
        "DOWNSTREAM_PEER_SUBJECT",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_TLS_CIPHER",
        "DOWNSTREAM_TLS_SESSION_ID",
        "DOWNSTREAM_TLS_VERSION",
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
        "DOWNSTREAM_WIRE_BYTES_RECEIVED",
        "DOWNSTREAM_WIRE_BYTES_SENT",
        "DURATION",
        "FILTER_CHAIN_NAME",
        "HOSTNAME",
        "LISTENER_NAME",
        "LOCAL_REPLY_BODY",
        "PACKETS_RETRANSMITTED",
        "PROTOCOL",
        "REQUEST_DURATION",
        "REQUEST_HEADERS_BYTES",
        "REQUEST_TX_DURATION",
        "RESPONSE_CODE",
        "RESPONSE_DURATION",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "RESPONSE_HEADERS_BYTES",
        "RESPONSE_TRAILERS_BYTES",
        "RESPONSE_TX_DURATION",
        "ROUNDTRIP_DURATION",
        "ROUTE_NAME",
        "SPAN_ID",
        "STREAM_ID",
        "TLS_JA3_FINGERPRINT",
        "TLS_JA4_FINGERPRINT",
        "TRACE_ID",
        "UNIQUE_ID",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_CONNECTION_ID",
        "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
        "UPSTREAM_CONNECTION_POOL_READY_DURATION",
        "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
        "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
        "UPSTREAM_DETECTED_CLOSE_TYPE",
        "UPSTREAM_HEADER_BYTES_RECEIVED",
        "UPSTREAM_HEADER_BYTES_SENT",
        "UPSTREAM_HOST",
        "UPSTREAM_HOSTS_ATTEMPTED",
        "UPSTREAM_HOST_NAME",
        "UPSTREAM_HOST_NAMES_ATTEMPTED",
        "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
        "UPSTREAM_HOST_NAME_WITHOUT_PORT",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_LOCAL_CLOSE_REASON",
        "UPSTREAM_LOCAL_DNS_SAN",
        "UPSTREAM_LOCAL_IP_SAN",
        "UPSTREAM_LOCAL_PORT",
        "UPSTREAM_LOCAL_URI_SAN",
        "UPSTREAM_PEER_CERT",
        "UPSTREAM_PEER_DNS_SAN",
        "UPSTREAM_PEER_IP_SAN",
        "UPSTREAM_PEER_ISSUER",
        "UPSTREAM_PEER_SUBJECT",
        "UPSTREAM_PEER_URI_SAN",
        "UPSTREAM_PROTOCOL",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "UPSTREAM_TLS_CIPHER",
        "UPSTREAM_TLS_SESSION_ID",
        "UPSTREAM_TLS_VERSION",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        "UPSTREAM_WIRE_BYTES_SENT",
        "VIRTUAL_CLUSTER_NAME",
    ]
)
_OPTIONAL: Final = frozenset(
    [
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_PEER_CERT_V_END",
        "DOWNSTREAM_PEER_CERT_V_START",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "EMIT_TIME",
        "EMIT_TIME_LOCAL",
        "RESPONSE_CODE_DETAILS",
        "START_TIME",
        "START_TIME_LOCAL",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_PEER_CERT_V_END",
        "UPSTREAM_PEER_CERT_V_START",
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    ]
)
_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z:]+\Z")


def _header(argument: str) -> bool:
    """A header's name, and perhaps another that stands in for it."""
    names = argument.split("?")
    return len(names) <= 2 and all(_NAME.match(name) for name in names)


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda argument: argument in values


def _filter_state(argument: str) -> bool:
    key, _, how = argument.partition(":")
    return bool(key) and how.partition(":")[0] in ("", "PLAIN", "TYPED", "FIELD")


def _given(argument: str) -> bool:
    return bool(argument)


# What an argument must be. Commands that end in `?` work without one too.
_ARGUMENTS: Final[dict[str, Callable[[str], bool]]] = {
    "CLUSTER_METADATA": _given,
    "DYNAMIC_METADATA": _given,
    "ENVIRONMENT": _given,
    "FILTER_STATE": _filter_state,
    "GRPC_STATUS?": _one_of("CAMEL_STRING", "SNAKE_STRING", "NUMBER"),
    "GRPC_STATUS_NUMBER?": _one_of(),
    "METADATA": lambda argument: argument.partition(":")[0] in ("ROUTE", "CLUSTER", "DYNAMIC", "LISTENER"),
    "PATH?": lambda argument: set(argument.split(":")) <= {"WQ", "NQ", "ORIG", "PATH", "ORIG_OR_PATH"},
    "PER_REQUEST_STATE": _given,
    "QUERY_PARAM": _given,
    "QUERY_PARAMS?": _one_of("ORIG", "DECODED"),
    "REQ": _header,
    "REQUESTED_SERVER_NAME?": lambda a: set(a.split(":")) <= {"SNI_ONLY", "SNI_FIRST", "HOST_FIRST", "ORIG", "HOST"},
    "RESP": _header,
    "TRAILER": _header,
    "UPSTREAM_FILTER_STATE": _filter_state,
    "UPSTREAM_METADATA": _given,
}
_CUT: Final = frozenset(
    ("REQ", "RESP", "TRAILER", "DYNAMIC_METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE", "QUERY_PARAM", "QUERY_PARAMS",
     "ENVIRONMENT", "PATH", "CLUSTER_METADATA")
)  # fmt: skip
_COMMAND = re.compile(r"%(?P<name>[A-Z][A-Z0-9_]*)(?:\((?P<argument>[^)]*)\))?(?P<cut>:[0-9]+)?%")
_EXAMPLES: Final = "%REQ(x-user)%, %HOSTNAME%, %DOWNSTREAM_REMOTE_ADDRESS% or %START_TIME(%s)%"


def problem(text: str) -> str | None:
    """What is wrong with a text that Envoy formats; None if nothing is. Per cent signs are doubled, or enclose a command."""
    at = 0
    while (at := text.find("%", at)) >= 0:
        if text.startswith("%%", at):
            at += 2
            continue
        found = _COMMAND.match(text, at)
        if found is None:
            return f"value {text!r} has a per cent sign that begins no command"
        wrong = _wrong(found["name"], found["argument"], found["cut"])
        if wrong is not None:
            return wrong
        at = found.end()
    return None


def _wrong(name: str, argument: str | None, cut: str | None) -> str | None:
    if cut and name not in _CUT:
        return f"%{name}% takes no length"
    if name in _PLAIN:
        return None if argument is None else f"%{name}% takes no argument"
    if name in _OPTIONAL:
        return None
    needed, optional = _ARGUMENTS.get(name), _ARGUMENTS.get(f"{name}?")
    if needed is None and optional is None:
        return f"%{name}% is no command of Envoy's; there are for example {_EXAMPLES}"
    check = needed or optional
    if argument is None:
        return None if optional is not None else f"%{name}% needs an argument, as in %{name}(x)%"
    return None if check is not None and check(argument) else f"%{name}({argument})%: {argument!r} is no argument of it"
