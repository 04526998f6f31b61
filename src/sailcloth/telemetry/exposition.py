"""Parses Prometheus' text format, as Envoy's `/stats/prometheus` and applications print it.

A page changes little from one scrape to the next, so a line whose labels were seen before costs one look-up: the text before its
value is hashed, not parsed. Size, lines and labels are bounded. Timestamps in a page are ignored: a sample is of the time of its
scrape. Format: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_BYTES = 32 << 20
MAX_LINES = 200_000
_MAX_LABELS = 64
_MAX_LABEL_BYTES = 4096
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|(?=\}))')
_END = re.compile(r"[ \t]*\}")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}
_TYPES = frozenset(("counter", "gauge", "histogram", "summary", "untyped"))


class ExpositionError(ValueError):
    """The text is not in the format, or is too large; the message names the line."""


@dataclass(slots=True)
class NewSeries:
    """A line whose labels were not known. `key` is what to know it by."""

    key: int
    labels: dict[str, str]
    value: float


@dataclass(slots=True)
class Metadata:
    """Types and help texts by metric name, of all pages read so far. Holds at most `limit` names."""

    types: dict[str, str] = field(default_factory=dict)
    help: dict[str, str] = field(default_factory=dict)
    limit: int = 20_000
    _seen: set[int] = field(default_factory=set)

    def read(self, line: str) -> None:
        """Take a comment line; anything but HELP and TYPE is ignored."""
        key = hash(line)
        if key in self._seen:
            return
        if len(self._seen) < 2 * self.limit:
            self._seen.add(key)
        parts = line[1:].split(None, 2)
        if len(parts) < 2 or len(self.types) + len(self.help) >= 2 * self.limit:
            return
        text = parts[2] if len(parts) > 2 else ""
        if parts[0] == "TYPE":
            name, _, kind = text.partition(" ") if not _NAME.fullmatch(parts[1]) else (parts[1], "", text)
            if kind.strip() in _TYPES:
                self.types.setdefault(name, "unknown" if kind.strip() == "untyped" else kind.strip())
        elif parts[0] == "HELP":
            self.help.setdefault(parts[1], _unescape(text))


@dataclass(slots=True)
class Page:
    """What one scrape said: values of known rows, in parallel lists, and new series."""

    rows: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    new: list[NewSeries] = field(default_factory=list)


def parse(body: bytes, known: Mapping[int, int], metadata: Metadata | None = None) -> Page:
    """The samples of a page. known: rows by key, from earlier pages of this target. Raises ExpositionError."""
    if len(body) > MAX_BYTES:
        raise ExpositionError(f"more than {MAX_BYTES >> 20} MiB")
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ExpositionError(f"not UTF-8 at byte {error.start}") from None
    if len(lines) > MAX_LINES:
        raise ExpositionError(f"more than {MAX_LINES} lines")
    page = Page()
    rows, values, row_of = page.rows.append, page.values.append, known.get
    for number, line in enumerate(lines, 1):
        if line[:1] in ("#", ""):
            if metadata is not None and line:
                metadata.read(line)
            continue
        before, _, after = line.rpartition(" ")
        row = row_of(hash(before))
        try:
            if row is not None:
                values(float(after))
                rows(row)
            elif line.strip():
                _slow(line.strip(), known, page)
        except ValueError as error:
            raise ExpositionError(f"line {number}: {error}") from None
    return page


def _slow(line: str, known: Mapping[int, int], page: Page) -> None:
    """A line that is new, or not written as plainly as most. Raises ValueError."""
    labels, end = _labels(line)
    fields = line[end:].split()
    if not 1 <= len(fields) <= 2:
        raise ValueError("expected a value after the labels")
    if len(fields) == 2:
        int(fields[1])  # a timestamp
    try:
        value = float(fields[0].replace("_", "?"))
    except ValueError:
        raise ValueError(f"{fields[0][:40]!r} is not a number") from None
    key = hash(line[:end].rstrip())
    row = known.get(key)
    if row is None:
        page.new.append(NewSeries(key, labels, value))
    else:
        page.rows.append(row)
        page.values.append(value)


def _labels(line: str) -> tuple[dict[str, str], int]:
    """The labels at the start of a line, the name among them, and where they end. Raises ValueError."""
    match = _NAME.match(line)
    if match is None:
        raise ValueError(f"expected a metric name, not {line[:20]!r}")
    labels = {"__name__": match[0]}
    at = match.end()
    if line[at : at + 1] in (" ", "\t"):
        rest = line[at:].lstrip()
        if not rest.startswith("{"):
            return labels, at
        at = len(line) - len(rest)
    if line[at : at + 1] != "{":
        raise ValueError(f"unexpected {line[at : at + 1]!r} after the metric name")
    at += 1
    while (label := _LABEL.match(line, at)) is not None:
        name, value = label[1], label[2]
        if name in labels:
            raise ValueError(f"label {name} is given twice")
        if len(value) > _MAX_LABEL_BYTES or len(labels) >= _MAX_LABELS:
            raise ValueError(f"more than {_MAX_LABELS} labels, or one of more than {_MAX_LABEL_BYTES} bytes")
        if value:
            labels[name] = _unescape(value)
        at = label.end()
    end = _END.match(line, at)
    if end is None:
        raise ValueError(f'expected label="value" at column {at + 1}')
    return labels, end.end()


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[0]), text) if "\\" in text else text
