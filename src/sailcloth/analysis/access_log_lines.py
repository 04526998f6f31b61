"""Parses access log lines in Istio's text and JSON formats to fields with the names of the JSON format.

Path, user agent and host come from clients and may contain quotes and spaces, so the text format is parsed from both ends. Must not
read logs.
"""

from __future__ import annotations

import json
import re
from typing import Any

Fields = dict[str, Any]
_LINE = re.compile(
    r'^\[(?P<start_time>[^\]]*)\] "(?P<method>\S+) (?P<path>.*?) (?P<protocol>[^" ]+)" (?P<response_code>\d+) '
    r"(?P<response_flags>\S+) (?P<response_code_details>\S+) (?P<connection_termination_details>\S+) "
    r'"(?P<upstream_transport_failure_reason>[^"]*)" (?P<bytes_received>\d+) (?P<bytes_sent>\d+) (?P<duration>\d+) '
    r'(?P<upstream_service_time>\S+) "(?P<x_forwarded_for>[^"]*)" "(?P<user_agent>.*)" "(?P<request_id>[^"]*)" '
    r'"(?P<authority>[^"]*)" "(?P<upstream_host>[^"]*)" (?P<upstream_cluster>\S+) (?P<upstream_local_address>\S+) '
    r"(?P<downstream_local_address>\S+) (?P<downstream_remote_address>\S+) (?P<requested_server_name>\S+) "
    r"(?P<route_name>\S+)$"
)
_NUMBERS = ("response_code", "bytes_received", "bytes_sent", "duration")
_MAX_LINE = 16_384


def parse(line: str) -> Fields | None:
    """The fields of a line, numbers as int, absent ones None; None if it is not an access log line."""
    if len(line) > _MAX_LINE:
        return None
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(fields, dict) or "upstream_cluster" not in fields:
            return None
        return {k: None if v == "-" else v for k, v in fields.items()}
    match = _LINE.match(line)
    if match is None:
        return None
    fields = {k: None if v == "-" else v for k, v in match.groupdict().items()}
    fields.update({name: int(fields[name] or 0) for name in _NUMBERS})
    return fields


def inbound(fields: Fields) -> bool:
    """Whether the request was inbound to the proxy's workload."""
    return str(fields.get("upstream_cluster") or "").startswith(("inbound|", "InboundPassthrough"))
