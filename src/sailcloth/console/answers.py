"""What the handlers of the console share: errors with their status, answers, and parameters. Must not know what is answered."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from . import schema
from .access import User

T = TypeVar("T")
USER = web.RequestKey("user", User)
_CSP = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every answer."""
_WINDOWS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class BadQuery(ValueError):
    """A parameter that is not valid. The text names it."""


class Missing(LookupError):
    """What is asked for does not exist, or not for this user. The text names it. `fix`: what to do."""

    def __init__(self, text: str, fix: str = "") -> None:
        super().__init__(text)
        self.fix = fix


class Forbidden(Exception):
    """A right that the user does not have. The text names it. `fix`: what to do."""

    def __init__(self, text: str, fix: str = "") -> None:
        super().__init__(text)
        self.fix = fix


def answer(value: Any) -> web.Response:
    """The value as JSON."""
    return web.Response(
        body=msgspec.json.encode(value), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


async def body(request: web.Request, type_: type[T]) -> T:
    """The request's body. Raises BadQuery."""
    try:
        return msgspec.json.decode(await request.read(), type=type_)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadQuery(f"the request's body is not valid: {error}") from None


def event(name: str, value: Any) -> bytes:
    """A server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))


def problem(status: int, error: str, fix: str = "") -> web.Response:
    """The answer to a request that failed."""
    body = msgspec.json.encode(schema.Problem(error=error, fix=fix))
    return web.Response(status=status, body=body, content_type="application/json")


def flag(request: web.Request, name: str, default: bool) -> bool:
    """A parameter that is true or false. Raises BadQuery."""
    text = request.query.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise BadQuery(f"{name}: use true or false")
    return text == "true"


def one_of(request: web.Request, name: str, choices: tuple[str, ...]) -> str:
    """A parameter that is one of some words, the first by default. Raises BadQuery."""
    text = request.query.get(name, choices[0])
    if text not in choices:
        raise BadQuery(f"{name}: unknown {text!r}; use {', '.join(choices[:-1])} or {choices[-1]}")
    return text


def number(request: web.Request, name: str, default: int, most: int) -> int:
    """A parameter between 1 and `most`. Raises BadQuery."""
    text = request.query.get(name, str(default))
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= value <= most:
        raise BadQuery(f"{name}: use a number from 1 to {most}")
    return value


def required(request: web.Request, name: str) -> str:
    """A parameter that must be there. Raises BadQuery."""
    text = request.query.get(name, "")
    if not text:
        raise BadQuery(f"{name}: is missing")
    return text


def seconds(window: str) -> int:
    """Seconds of a time such as 5m; 0 for other texts."""
    amount, unit = window[:-1], window[-1:]
    known = unit in _WINDOWS and amount.isascii() and amount.isdigit() and len(amount) < 10
    return int(amount) * _WINDOWS[unit] if known else 0
