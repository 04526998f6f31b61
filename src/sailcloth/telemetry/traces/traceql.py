"""TraceQL, as far as Kiali and Grafana's search ask it: sets of conditions on spans, joined, and `select`.

    {resource.service.name = "reviews" && span.http.status_code != "200"} && {status = error} | select(duration)

What is not understood is refused by name, never answered wrongly. https://grafana.com/docs/tempo/latest/traceql/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from sailcloth.lib import regex

from .model import Span

T = TypeVar("T")
Condition = Callable[[Span], bool]
TraceCondition = Callable[[Sequence[Span]], bool]
_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<duration>\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))|(?P<number>-?\d+(?:\.\d+)?)'
    r"|(?P<sign>&&|\|\||=~|!~|!=|>=|<=|[{}()=<>|,])|(?P<name>\.?[A-Za-z_][\w./-]*))"
)
_UNITS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}
_SCOPES = ("span.", "resource.", ".")
_MAX_LENGTH, _MAX_DEPTH = 4096, 32


class Unsupported(ValueError):
    """The query has what is not understood here. The text names it."""


def parse(query: str) -> tuple[Condition, TraceCondition]:
    """(what some span must have, what the trace must have) for a trace to be found. Raises Unsupported."""
    return _Parser(query).query()


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise Unsupported(f"the query is longer than {_MAX_LENGTH} characters")
        self._at = self._depth = 0
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                raise Unsupported(f"{text[position:].strip()[:20]!r} is not understood")
            kind = str(found.lastgroup)
            self._tokens.append((kind, found[kind]))
            position = found.end()

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, expected: str = "") -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise Unsupported("the query ends early")
        token = self._tokens[self._at]
        if expected and token[1] != expected:
            self._refuse(token[1])
        self._at += 1
        return token

    def _refuse(self, what: str) -> NoReturn:
        raise Unsupported(f"{what!r} is not understood")

    def query(self) -> tuple[Condition, TraceCondition]:
        some, whole = self._sets()
        while self._peek() == "|":
            self._take()
            _, name = self._take()
            if name != "select":
                raise Unsupported(f"the function {name!r} is not understood; there is select")
            self._take("(")
            while self._peek() != ")":
                self._take()
            self._take(")")
        if self._at < len(self._tokens):
            self._refuse(self._peek())
        return some, whole

    def _sets(self) -> tuple[Condition, TraceCondition]:
        some, whole = self._set()
        while self._peek() in ("&&", "||"):
            both = self._take()[1] == "&&"
            more, also = self._set()
            if both:  # a trace is looked for by its first set, and must have the others
                whole = _both(whole, also)
            else:
                some, whole = _either(some, more), _either(whole, also)
        return some, whole

    def _set(self) -> tuple[Condition, TraceCondition]:
        if self._peek() == "(":
            self._nested()
            self._take("(")
            made = self._sets()
            self._take(")")
            self._depth -= 1
            return made
        self._take("{")
        condition: Condition = _always if self._peek() == "}" else self._or()
        self._take("}")
        return condition, lambda spans: any(condition(span) for span in spans)

    def _nested(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unsupported("the query is nested too deeply")

    def _or(self) -> Condition:
        condition = self._and()
        while self._peek() == "||":
            self._take()
            condition = _either(condition, self._and())
        return condition

    def _and(self) -> Condition:
        condition = self._one()
        while self._peek() == "&&":
            self._take()
            condition = _both(condition, self._one())
        return condition

    def _one(self) -> Condition:
        if self._peek() == "(":
            self._nested()
            self._take("(")
            condition = self._or()
            self._take(")")
            self._depth -= 1
            return condition
        kind, name = self._take()
        if kind != "name":
            self._refuse(name)
        if name in ("true", "false"):
            return _always if name == "true" else lambda span: False
        sign = self._take()[1]
        if sign not in ("=", "!=", "=~", "!~", ">", ">=", "<", "<="):
            self._refuse(sign)
        return _comparison(name, sign, *self._take())


def _always(span: Span) -> bool:
    return True


def _both(one: Callable[[T], bool], other: Callable[[T], bool]) -> Callable[[T], bool]:
    return lambda value: one(value) and other(value)


def _either(one: Callable[[T], bool], other: Callable[[T], bool]) -> Callable[[T], bool]:
    return lambda value: one(value) or other(value)


def _comparison(name: str, sign: str, kind: str, token: str) -> Condition:
    """One field compared with a value."""
    wanted = _wanted(kind, token)
    read = _field(name)
    if sign in ("=~", "!~"):
        if kind != "text":
            raise Unsupported(f"{sign} wants a text, not {token!r}")
        try:
            regex.compiled(f"^(?:{wanted})$")
        except regex.BadRegex as error:
            raise Unsupported(f"{token}: {error}") from None
        pattern = f"^(?:{wanted})$"
        return lambda span: (value := read(span)) is not None and regex.search(pattern, str(value)) == (sign == "=~")
    if sign in ("=", "!="):
        return lambda span: (value := read(span)) is not None and (_equal(value, wanted) == (sign == "="))
    if not isinstance(wanted, float):
        raise Unsupported(f"{sign} wants a number or a duration, not {token!r}")
    compare = {">": float.__gt__, ">=": float.__ge__, "<": float.__lt__, "<=": float.__le__}[sign]
    return lambda span: (value := _number(read(span))) is not None and bool(compare(value, wanted))


def _wanted(kind: str, token: str) -> str | float:
    if kind == "text":
        return token[1:-1] if token[0] == "`" else re.sub(r"\\(.)", r"\1", token[1:-1])
    if kind == "duration":
        amount, unit = re.fullmatch(r"([\d.]+)(\D+)", token).groups()  # type: ignore[union-attr]
        return float(amount) * _UNITS[unit]
    if kind == "number":
        return float(token)
    if kind == "name":  # of a status or a kind
        return token
    raise Unsupported(f"{token!r} is no value")


def _field(name: str) -> Callable[[Span], object]:
    """How to read a field: an attribute in some scope, or what spans have by themselves."""
    scope = next((s for s in _SCOPES if name.startswith(s)), "")
    if scope:
        attribute = name.removeprefix(scope)
        if attribute == "service.name":
            return lambda span: span.service
        return lambda span: span.tags.get(attribute)
    own: dict[str, Callable[[Span], object]] = {
        "name": lambda span: span.name,
        "kind": lambda span: span.kind,
        "status": lambda span: "error" if span.error else "ok",
        "duration": lambda span: float(span.duration_us),
        "span:name": lambda span: span.name,
    }
    if name not in own:
        raise Unsupported(f"the field {name!r} is not understood; write .{name} for an attribute")
    return own[name]


def _equal(value: object, wanted: str | float) -> bool:
    if isinstance(wanted, float):
        number = _number(value)
        return number is not None and number == wanted
    return str(value) == wanted or (wanted == "unset" and value == "ok")


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
