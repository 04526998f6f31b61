"""A span, as the store keeps it, whatever protocol it came by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

KINDS: Final = ("internal", "server", "client", "producer", "consumer")
MAX_TAGS, MAX_KEY, MAX_VALUE, MAX_NAME = 64, 128, 1024, 256
MAX_SPANS = 20_000
"""Spans of one message."""


class BadSpans(ValueError):
    """A message is not what its protocol wants. The text is fit to show."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are hexadecimal (32 and 16 digits), times in microseconds since the epoch; `parent` is empty for a root."""

    trace: str
    id: str
    service: str
    name: str
    start_us: int
    duration_us: int = 0
    parent: str = ""
    kind: str = "internal"
    error: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    events: tuple[tuple[int, str], ...] = ()

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us


def identifier(value: Any, digits: int, what: str) -> str:
    """An id of this many hexadecimal digits, shorter ones filled with zeros. Raises BadSpans."""
    text = str(value or "").lower()
    if not text or len(text) > digits or any(c not in "0123456789abcdef" for c in text) or not text.strip("0"):
        raise BadSpans(f"{what}: {text[:40]!r} is no id of at most {digits} hexadecimal digits")
    return text.rjust(digits, "0")


def tags_of(pairs: Mapping[Any, Any]) -> dict[str, str]:
    """Tags as text, bounded in number and size."""
    out: dict[str, str] = {}
    for key, value in pairs.items():
        if len(out) == MAX_TAGS:
            break
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        out[str(key)[:MAX_KEY]] = text[:MAX_VALUE]
    return out


def is_error(tags: Mapping[str, str]) -> bool:
    """Whether tags say that the request failed: an error, a status of 5xx, or a status of gRPC other than 0."""
    if tags.get("error", "false").lower() not in ("false", ""):
        return True
    status = tags.get("http.status_code") or tags.get("http.response.status_code") or ""
    grpc = tags.get("grpc.status_code") or tags.get("rpc.grpc.status_code") or "0"
    return (status.isdigit() and int(status) >= 500) or grpc not in ("0", "")


def whole(value: Any, what: str) -> int:
    """A number of microseconds or the like. Raises BadSpans."""
    try:
        number = int(value or 0)
    except (TypeError, ValueError):
        raise BadSpans(f"{what}: {str(value)[:40]!r} is no number") from None
    if not 0 <= number < 1 << 62:
        raise BadSpans(f"{what}: {number} is out of range")
    return number
