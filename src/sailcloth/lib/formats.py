"""String formats of OpenAPI schemas that a Kubernetes API server checks. An unknown format accepts every text."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
import urllib.parse
from collections.abc import Callable
from functools import lru_cache

_DURATION = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w))*$")  # fmt: skip
_WORDS = re.compile(
    r"^\s*\d+\s*(ns|us|µs|ms|s|m|h|d|w|(nano|micro|milli)?secs?|seconds?|minutes?|hours?|days?|weeks?)\s*$"
)
_HOST = re.compile(r"^([a-zA-Z0-9¡-￿]([a-zA-Z0-9¡-￿-]{0,62})(\.[a-zA-Z0-9¡-￿]{1}[a-zA-Z0-9¡-￿-]{0,62})*?)\.?$")
_UUID = re.compile(r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", re.IGNORECASE)


@lru_cache(maxsize=1024)
def date_time(text: str) -> dt.datetime | None:
    """The time of an RFC 3339 text; None if it is not valid."""
    if not re.match(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$", text):
        return None
    try:
        normalised = re.sub(r"\.(\d{1,6})\d*", lambda m: "." + m[1].ljust(6, "0"), text.upper().replace(" ", "T"))
        return dt.datetime.fromisoformat(normalised.replace("Z", "+00:00"))
    except ValueError:
        return None


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> dt.timedelta | None:
    """A Go duration such as 1h2m3.5s; None if it is not valid."""
    if not re.match(r"^[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$", text):
        return None
    parts = re.findall(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", text)
    try:
        total = dt.timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in parts))
    except OverflowError:
        return None
    return -total if text.startswith("-") else total


def _parses(make: Callable[[str], object]) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            make(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return fits


def _uri(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme or text.startswith("/")) and not any(c.isspace() for c in text)


_CHECKS: dict[str, Callable[[str], bool]] = {
    "date-time": lambda t: date_time(t) is not None,
    "datetime": lambda t: date_time(t) is not None,
    "date": _parses(dt.date.fromisoformat),
    "duration": lambda t: bool(_DURATION.match(t) or _WORDS.match(t)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": lambda t: "/" in t and _parses(lambda x: ipaddress.ip_network(x, strict=False))(t),
    "mac": lambda t: bool(re.fullmatch(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}", t)),
    "uuid": lambda t: bool(_UUID.match(t)),
    "uuid3": lambda t: bool(_UUID.match(t) and t.replace("-", "")[12] == "3"),
    "uuid4": lambda t: bool(_UUID.match(t) and t.replace("-", "")[12] == "4"),
    "uuid5": lambda t: bool(_UUID.match(t) and t.replace("-", "")[12] == "5"),
    "byte": _parses(lambda t: base64.b64decode(t, validate=True)),
    "email": lambda t: bool(re.fullmatch(r"[^@\s]+@[^@\s]+", t)),
    "hostname": lambda t: len(t) < 254 and bool(_HOST.match(t)),
    "uri": _uri,
    "hexcolor": lambda t: bool(re.fullmatch(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", t)),
    "rgbcolor": lambda t: bool(re.fullmatch(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)", t)),
    "bsonobjectid": lambda t: bool(re.fullmatch(r"[0-9a-fA-F]{24}", t)),
    "isbn10": lambda t: bool(re.fullmatch(r"(\d[- ]?){9}[\dX]", t)),
    "isbn13": lambda t: bool(re.fullmatch(r"(\d[- ]?){13}", t)),
    "isbn": lambda t: bool(re.fullmatch(r"(\d[- ]?){9}[\dX]|(\d[- ]?){13}", t)),
    "creditcard": lambda t: bool(re.fullmatch(r"(\d[- ]?){13,19}", t)),
    "ssn": lambda t: bool(re.fullmatch(r"\d{3}[- ]?\d{2}[- ]?\d{4}", t)),
}  # fmt: skip


def fits(form: str, text: str) -> bool:
    """Whether a text conforms to a format."""
    check = _CHECKS.get(form)
    return check is None or check(text)
