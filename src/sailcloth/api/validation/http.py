"""Validates header names and operations, status codes and string matches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sailcloth.api.meta import StringMatch
from sailcloth.api.virtual_service import HeaderOperations, Headers

from . import codes, formats, regexes
from .report import Report

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_HEADER = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+\Z")
SYNTAX: Final = "See https://github.com/google/re2/wiki/Syntax."
_AUTHORITY: Final = ("host", ":authority")


def check_header(report: Report, path: str, name: str, pseudo: bool = False) -> None:
    """A header name; `pseudo`: pseudo-headers such as :authority are allowed."""
    bare = name[1:] if pseudo and name.startswith(":") else name
    if not _HEADER.match(bare):
        text = f"{name!r} is not a header name" if name else "a header has no name"
        report.error(codes.NAME, path, text, "Use letters, digits and dashes, such as x-user.")


def breaks_line(text: str) -> bool:
    """Whether a text has characters that HTTP headers cannot contain (line breaks, NUL)."""
    return any(c in text for c in "\0\r\n")


def check_line(report: Report, path: str, text: str | None) -> None:
    """A text that is written into HTTP headers."""
    if text and breaks_line(text):
        report.error(codes.TYPE, path, "the text contains a line break or NUL", "Write it in one line.")


def check_match(report: Report, path: str, match: StringMatch | None, empty_prefix: bool = False) -> None:
    """A string match; `empty_prefix`: an empty prefix is allowed."""
    if match is None:
        return
    set_fields = [f for f in ("exact", "prefix", "regex") if getattr(match, f) is not None]
    if len(set_fields) > 1:
        report.error(codes.CONFLICT, path, f"{' and '.join(set_fields)} are mutually exclusive", "Keep one of them.")
    if match.prefix == "" and not empty_prefix:
        report.error(codes.REQUIRED, f"{path}.prefix", "the prefix is empty", "Give a prefix, or remove the match.")
    if match.regex is not None:
        problem = "the regular expression is empty" if not match.regex else regexes.problem(match.regex)
        if problem:
            report.error(codes.REGEX, f"{path}.regex", problem, SYNTAX)


def check_matches(report: Report, path: str, matches: Mapping[str, StringMatch]) -> None:
    """String matches by name."""
    for name, match in matches.items():
        check_match(report, f"{path}.{name}", match, empty_prefix=True)


def check_headers(report: Report, path: str, headers: Headers | None) -> None:
    """Changes to requests and responses."""
    if headers is None:
        return
    for direction, operations in (("request", headers.request), ("response", headers.response)):
        if operations is not None:
            _operations(report, f"{path}.{direction}", operations, direction == "request")


def _operations(report: Report, path: str, operations: HeaderOperations, request: bool) -> None:
    """Header operations. Only a request's authority can be set among pseudo-headers; none can be removed."""
    authority = []
    for verb, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            at = f"{path}.{verb}.{name}"
            if request and name.lower() in _AUTHORITY:
                authority.append(f"{verb} {name}")
            else:
                _changeable(report, at, name)
            check_line(report, at, value)
            problem = formats.problem(value)
            if problem is not None:
                report.error(codes.TYPE, at, problem, "Write %% for a percent sign, or a command such as %REQ(x-a)%.")
    for index, name in enumerate(operations.remove):
        _changeable(report, f"{path}.remove[{index}]", name)
    if len(authority) > 1:
        text = f"the authority is set more than once ({', '.join(authority)})"
        report.error(codes.CONFLICT, path, text, "Keep one of them.")


def _changeable(report: Report, path: str, name: str) -> None:
    if name.startswith(":") or name.lower() in _AUTHORITY:
        text = f"header {name!r} cannot be changed here"
        report.error(codes.NAME, path, text, "Remove it; use rewrite, or set the request's host.")
    else:
        check_header(report, path, name)


def check_status(report: Report, path: str, status: int) -> None:
    """The HTTP status of a final response."""
    if not 200 <= status <= 599:
        text = f"HTTP status {status} is not in the range 200-599"
        report.error(codes.RANGE, path, text, "Give a status from 200 to 599.")
