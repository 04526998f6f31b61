"""Requests as the options of `sailctl x authz explain` write them.

If an option is not valid, each function ends the command with a message that says how to write it.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from . import output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sailcloth.analysis.authorization import Call

Object = dict[str, Any]
T = TypeVar("T")


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Names and values of NAME=VALUE texts."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            output.fail(f"{option} {text!r}: write NAME=VALUE", output.USAGE)
        values[name.strip()] = value.strip()
    return values


def principal(text: str, trust_domain: str) -> str:
    """The identity, without scheme, that NAMESPACE/ACCOUNT or a SPIFFE ID names."""
    text = text.removeprefix("spiffe://")
    if not text or "/ns/" in text:
        return text
    namespace, slash, account = text.partition("/")
    if not slash or "/" in account:
        output.fail(f"--from {text!r}: write NAMESPACE/ACCOUNT or TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT", output.USAGE)
    return f"{trust_domain}/ns/{namespace}/sa/{account}"


def address(option: str, text: str) -> str:
    """An IP address in canonical form; empty for an empty text."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        output.fail(f"{option} {text!r} is not an IP address", output.USAGE)


def claims(jwt: Path | None, text: str) -> Object | None:
    """Claims from their JSON text, or from a token's file; None without either."""
    if jwt is not None and text:
        output.fail("give --jwt or --claims, not both", output.USAGE)
    where = "--claims"
    try:
        if jwt is not None:
            where = str(jwt)
            part = jwt.read_text().strip().removeprefix("Bearer ").split(".")[1]
            text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        decoded = json.loads(text) if text else None
    except OSError as error:
        output.fail(f"{where}: {error.strerror}", output.DATA)
    except (ValueError, IndexError):
        output.fail(f"{where}: not a {'token' if jwt is not None else 'JSON object'}", output.DATA)
    if decoded is not None and not isinstance(decoded, dict):
        output.fail(f"{where}: claims are a JSON object", output.DATA)
    return decoded


def expired(token: Object) -> bool:
    """Whether a token with these claims has expired, with Envoy's clock skew of 60 s."""
    end = token.get("exp")
    return isinstance(end, (int, float)) and end + 60 < time.time()


def calls(file: Path) -> Iterator[Call]:
    """Requests to a workload, of a file of JSON lines."""
    from sailcloth.analysis.authorization import Call

    return json_lines(file, Call)


def json_lines(file: Path, type_: type[T]) -> Iterator[T]:
    """The values of a file of JSON lines; `-` is standard input."""
    import msgspec

    try:
        lines = (sys.stdin.read() if str(file) == "-" else file.read_text()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        output.fail(f"{file}: {getattr(error, 'strerror', None) or error}", output.DATA)
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=type_)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                output.fail(f"{file}:{number}: {error}", output.DATA)
