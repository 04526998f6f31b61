"""Parses access log lines in Istio's text and JSON formats to fields with the names of the JSON format, and to requests.

Path, user agent and host come from clients and may contain quotes and spaces, so the text format is parsed from both ends. Must not
read logs.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

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
_HEAD = re.compile(r'\[([^\]]*)\] "\S+ .*? [^" ]+" (\d{1,3}) (\S+) ')
_STATUS = re.compile(r"(?P<sign>>=|<=|>|<|=)?(?P<code>\d{3})|(?P<group>[1-5])xx")
_NUMBERS = ("response_code", "bytes_received", "bytes_sent", "duration")
_INBOUND = ("inbound|", "InboundPassthrough")
_MAX_LINE = 16_384


def parse(line: str) -> Fields | None:
    """The fields of a line, numbers as int, absent ones None; None if it is not an access log line."""
    if len(line) > _MAX_LINE:
        return None
    if line.startswith("{"):
        try:
            fields = orjson.loads(line)  # refuses what is no Unicode
        except ValueError:
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
    return str(fields.get("upstream_cluster") or "").startswith(_INBOUND)


@dataclass(frozen=True, slots=True)
class Summary:
    """What requests are looked for by. `peer`: the address of the other side, without its port. Empty where the line has none."""

    start_us: int
    inbound: bool
    status: int
    flags: str
    request_id: str
    peer: str


def summary(line: str) -> Summary | None:
    """The summary of a line; None if it is not an access log line. Takes a tenth of the time of `parse` for the text format."""
    if line.startswith("{"):
        fields = parse(line)
        if fields is None:
            return None
        into = inbound(fields)
        remote = fields.get("downstream_remote_address" if into else "upstream_host")
        start, status, flags, request_id = (
            fields.get(n) for n in ("start_time", "response_code", "response_flags", "request_id")
        )
    else:
        match = _HEAD.match(line) if len(line) <= _MAX_LINE else None
        parts = line.rsplit('"', 6)
        last = parts[-1].split()
        if match is None or len(parts) != 7 or len(last) != 6:
            return None
        start, status, flags = match.groups()
        request_id, into = parts[1], last[0].startswith(_INBOUND)
        remote = last[3] if into else parts[5]
    code = int(digits) if (digits := str(status)).isdecimal() and len(digits) <= 3 else 0
    flags, request_id = ("" if value in (None, "-") else str(value) for value in (flags, request_id))
    return Summary(micros(start), into, code, flags, request_id, address(remote))


def status_range(text: str) -> tuple[int, int]:
    """The least and the greatest status that 503, 5xx or >=400 means. Raises ValueError."""
    match = _STATUS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no status; write 503, 5xx or >=400")
    if match["group"]:
        return int(match["group"]) * 100, int(match["group"]) * 100 + 99
    code = int(match["code"])
    return {
        "": (code, code),
        "=": (code, code),
        ">": (code + 1, 999),
        ">=": (code, 999),
        "<": (1, code - 1),
        "<=": (1, code),
    }[match["sign"] or ""]


def address(text: Any) -> str:
    """An address without its port; empty for none."""
    return str(text or "").rpartition(":")[0].strip("[]")


def peer(fields: Fields) -> str:
    """The address of the other side, without its port."""
    return address(fields.get("downstream_remote_address" if inbound(fields) else "upstream_host"))


def request(pod: str, fields: Fields, peers: Mapping[str, str]) -> Fields:
    """A request that a pod's proxy has logged. peers: names by address; who is not among them is called by the address."""
    into = inbound(fields)
    other = peers.get(peer(fields), peer(fields)) or "-"
    return {
        "time": fields.get("start_time"),
        "direction": "in" if into else "out",
        "source": other if into else pod,
        "destination": pod if into else other,
        "method": fields.get("method"),
        "authority": fields.get("authority"),
        "path": fields.get("path"),
        "status": fields.get("response_code"),
        "flags": fields.get("response_flags"),
        "details": fields.get("response_code_details"),
        "duration_ms": fields.get("duration"),
        "bytes_received": fields.get("bytes_received"),
        "bytes_sent": fields.get("bytes_sent"),
        "tls": str(fields.get("requested_server_name") or "").startswith("outbound_") if into else None,
        "request_id": fields.get("request_id"),
        "upstream_cluster": fields.get("upstream_cluster"),
        "route": fields.get("route_name"),
        "failure": fields.get("upstream_transport_failure_reason") or fields.get("connection_termination_details"),
    }


def micros(time: Any) -> int:
    """Microseconds since the epoch of an RFC 3339 time; 0 if it is none."""
    try:
        at = dt.datetime.fromisoformat(str(time))
        return int(at.timestamp() * 1_000_000) if at.tzinfo is not None else 0
    except (ValueError, OverflowError):
        return 0
