"""A minimal HTTP/1.1 client codec: one request per connection, such as to Envoy's admin page in another network namespace."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{1,8}")


def request(
    method: str, path: str, host: str = "localhost", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> bytes:
    """A request with `Connection: close`."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def parse(answer: bytes) -> tuple[int, bytes]:
    """(status, body) of a complete response; status 0 if it is not HTTP."""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    return status, body


def body(answer: bytes) -> bytes:
    """The body of a response with status 200. Raises OSError with status and body otherwise."""
    status, content = parse(answer)
    if status != 200:
        text = content.decode(errors="replace").strip() or "nothing"
        raise OSError(f"the response had status {status}: {text[:200]}")
    return content


def _joined(chunks: bytes) -> bytes:
    parts = []
    while chunks:
        size, _, remainder = chunks.partition(b"\r\n")
        digits = size.split(b";")[0].strip()
        length = int(digits, 16) if _HEXADECIMAL.fullmatch(digits) else 0
        if not length:  # the last one, or none that is understood
            break
        parts.append(remainder[:length])
        chunks = remainder[length + 2 :]
    return b"".join(parts)
