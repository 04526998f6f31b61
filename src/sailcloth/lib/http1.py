"""The least of HTTP/1.1 for one request on a connection of one's own, such as to an admin page in another network."""

from __future__ import annotations


def request(method: str, path: str, host: str = "localhost") -> bytes:
    """A request without a body, after whose answer the server closes."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def parse(answer: bytes) -> tuple[int, bytes]:
    """(status, body) of a whole answer; 0 if it is not HTTP."""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    return status, body


def body(answer: bytes) -> bytes:
    """The body of an answer with status 200. Raises OSError with the server's words otherwise."""
    status, found = parse(answer)
    if status != 200:
        text = found.decode(errors="replace").strip() or "nothing"
        raise OSError(f"the answer was {status}: {text[:200]}")
    return found


def _joined(chunks: bytes) -> bytes:
    out = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if not length:
            break
        out.append(rest[:length])
        chunks = rest[length + 2 :]
    return b"".join(out)
