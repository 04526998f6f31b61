"""Requests as the options of `sailctl x authz explain` write them.

Every function ends the command with what is wrong, and how to write it, if an option cannot be read.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from . import output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sailcloth.analysis.authorization import Call

Object = dict[str, Any]


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Names and values of NAME=VALUE texts."""
    found = {}
    for one in texts:
        name, equals, value = one.partition("=")
        if not equals or not name:
            output.fail(f"{option} {one!r}: write NAME=VALUE", output.USAGE)
        found[name.strip()] = value.strip()
    return found


def principal(text: str, trust_domain: str) -> str:
    """The identity that NAMESPACE/ACCOUNT, or a whole SPIFFE ID, names; without its scheme."""
    text = text.removeprefix("spiffe://")
    if not text or "/ns/" in text:
        return text
    namespace, slash, account = text.partition("/")
    if not slash or "/" in account:
        output.fail(f"--from {text!r}: write NAMESPACE/ACCOUNT or TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT", output.USAGE)
    return f"{trust_domain}/ns/{namespace}/sa/{account}"


def address(option: str, text: str) -> str:
    """An IP address as Envoy writes it; "" stays."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        output.fail(f"{option} {text!r} is no IP address", output.USAGE)


def claims(jwt: Path | None, text: str) -> Object | None:
    """Claims as given, or of a token."""
    if jwt is not None and text:
        output.fail("give --jwt or --claims, not both", output.USAGE)
    where = "--claims"
    try:
        if jwt is not None:
            where = str(jwt)
            part = jwt.read_text().strip().removeprefix("Bearer ").split(".")[1]
            text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        found = json.loads(text) if text else None
    except OSError as error:
        output.fail(f"{where}: {error.strerror}", output.DATA)
    except (ValueError, IndexError):
        output.fail(f"{where}: no {'token' if jwt is not None else 'JSON'}", output.DATA)
    if found is not None and not isinstance(found, dict):
        output.fail(f"{where}: claims are a JSON object", output.DATA)
    return found


def expired(token: Object) -> bool:
    """Whether a token of these claims has expired, as Envoy sees it."""
    end = token.get("exp")
    return isinstance(end, (int, float)) and end + 60 < time.time()  # Envoy's clock skew


def calls(file: Path) -> Iterator[Call]:
    """Requests of a file of JSON lines; `-` is standard input."""
    import msgspec

    from sailcloth.analysis.authorization import Call

    try:
        lines = (sys.stdin.read() if str(file) == "-" else file.read_text()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        output.fail(f"{file}: {getattr(error, 'strerror', None) or error}", output.DATA)
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=Call)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                output.fail(f"{file}:{number}: {error}", output.DATA)
