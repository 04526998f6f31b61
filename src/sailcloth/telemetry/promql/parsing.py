"""Texts as trees. Bounds what is parsed, and speaks of errors as Prometheus does."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import promql_parser as parser

from ..metrics.labels import NAME, Matcher
from .errors import BadQuery

T = TypeVar("T")
_LONGEST = 1 << 16
_DEEPEST, _MOST_OPERATORS = 200, 250  # the library and the evaluator recurse
_OPERATOR = re.compile(r"[-+*/%^<>]|[=!]=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`|#[^\n]*')
_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def parse(text: str) -> Any:
    """The tree of an expression. Raises BadQuery."""
    if len(text) > _LONGEST:
        raise BadQuery(f"the query is longer than {_LONGEST} characters")
    plain = _STRING.sub(_plain_string, text)
    bare = _STRING.sub("", plain)
    if bare.count("(") + bare.count("[") > _DEEPEST or len(_OPERATOR.findall(bare)) > _MOST_OPERATORS:
        raise BadQuery(f"the query has more than {_DEEPEST} brackets or {_MOST_OPERATORS} operators")
    return guarded(lambda: parser.parse(plain))


def guarded(work: Callable[[], T]) -> T:
    """The result of something that the parser's library does. Raises BadQuery."""
    try:
        return work()
    except (ValueError, OverflowError) as error:
        raise BadQuery(f"parse error: {error}") from None
    except BaseException as error:  # a panic of the library is derived from BaseException
        if type(error).__name__ != "PanicException":
            raise
        raise BadQuery(f"parse error: the parser failed: {error}") from None


def _plain_string(match: re.Match[str]) -> str:
    """A string in back quotes with double quotes; the parser does not take backslashes in the former."""
    text = match[0]
    if text.startswith("#"):
        return ""
    if not text.startswith("`"):
        return text
    inner = text[1:-1].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'


def matchers(selector: Any) -> list[Matcher]:
    """The conditions of a vector selector. Raises BadQuery."""
    if selector.matchers.or_matchers:
        raise BadQuery("unsupported: `or` between matchers")
    out = [Matcher(m.name, _OPERATORS[str(m.op).rpartition(".")[2]], m.value) for m in selector.matchers.matchers]
    if selector.name:
        out.append(Matcher(NAME, "=", selector.name))
    return out


def parse_selector(text: str) -> list[Matcher]:
    """The conditions of a selector that stands alone, as in `match[]`. Raises BadQuery."""
    tree = parse(text)
    if not isinstance(tree, parser.VectorSelector) or tree.offset is not None or tree.at is not None:
        raise BadQuery(f"not a selector of series: {text}")
    return matchers(tree)


def milliseconds(duration: timedelta | None) -> int:
    """A duration in ms; 0 for none."""
    return 0 if duration is None else duration // timedelta(milliseconds=1)


def parse_duration(text: str) -> float:
    """Seconds of a duration, such as `1h30m` or a number of seconds. Raises BadQuery."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            return float(parser.parse_duration(text).total_seconds())
        except (ValueError, OverflowError):
            raise BadQuery(f'cannot parse "{text}" to a valid duration') from None
    if not abs(seconds) < 1e11:
        raise BadQuery(f'cannot parse "{text}" to a valid duration. It overflows int64')
    return seconds
