"""Probes of an application from within its pod's network namespace, as a kubelet makes them, but past the capture of traffic.

HTTP passes by the status line and headers alone, TCP by a connection, gRPC by the health service's answer. The address is the pod's,
so a server on 127.0.0.1 only does not pass. Source: the Kubernetes probes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from . import grpc_health
from .netns import socket_in

Object = dict[str, Any]
_SOURCE = "127.0.0.6"  # capture leaves alone what comes from it; an agent in the pod has the proxy's user, whose traffic it redirects
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_HEADERS = 64 << 10  # bytes


async def http_status(netns_fd: int, address: str, port: int, action: Object) -> int:
    """The status of an `httpGet` action; 0 if the answer is not HTTP. Follows redirects within the host; one to another host is
    itself the answer. Raises OSError or EOFError if the connection fails."""
    secure = str(action.get("scheme") or "HTTP").upper() == "HTTPS"
    path = "/" + str(action.get("path") or "").lstrip("/")
    url = urlsplit(f"{'https' if secure else 'http'}://{action.get('host') or address}:{port}{path}")
    status, location = await _get(netns_fd, address, url, action)
    for _ in range(_MOST_REDIRECTS):
        target = urlsplit(urljoin(url.geturl(), location))
        if status not in _REDIRECTS or not location or target.hostname != url.hostname:
            return status
        if target.scheme not in ("http", "https"):
            return status
        url = target
        status, location = await _get(netns_fd, address, url, action)
    raise OSError(f"stopped after {_MOST_REDIRECTS} redirects")


async def tcp(netns_fd: int, address: str, port: int, action: Object) -> None:
    """Connects for a `tcpSocket` action. Raises OSError if that fails."""
    (await _connected(netns_fd, address, str(action.get("host") or address), port)).close()


async def grpc(netns_fd: int, address: str, port: int, action: Object) -> tuple[bool, str]:
    """Whether the service of a `grpc` action says that it serves, and why not. Raises OSError or EOFError if the connection fails."""
    reader, writer = await asyncio.open_connection(sock=await _connected(netns_fd, address, address, port))
    try:
        return await grpc_health.check(reader, writer, str(action.get("service") or ""))
    finally:
        writer.close()


async def _connected(netns_fd: int, address: str, host: str, port: int) -> socket.socket:
    """A connection to the pod, whose address is given, or to another host."""
    return await socket_in(netns_fd, host, port, _SOURCE if host == address else "")


async def _get(netns_fd: int, address: str, url: SplitResult, action: Object) -> tuple[int, str]:
    """(status, location) of one request."""
    context: ssl.SSLContext | None = None
    if url.scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as a kubelet: probes do not verify
    host = url.hostname or ""
    sock = await _connected(netns_fd, address, host, url.port or (443 if context else 80))
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=context, server_hostname=host if context else None, limit=_MOST_HEADERS
    )
    try:
        writer.write(_request(url, action))
        return await _head(reader)
    except (ValueError, asyncio.LimitOverrunError):
        return 0, ""
    finally:
        writer.close()


def _request(url: SplitResult, action: Object) -> bytes:
    """The request, with the user's headers instead of the defaults of the same name; one with an empty value is left out."""
    own = [(str(h.get("name")), str(h.get("value") or "")) for h in action.get("httpHeaders") or ()]
    names = {name.lower() for name, _ in own}
    defaults = (("Host", url.netloc), ("User-Agent", "kube-probe/1.32"), ("Accept", "*/*"), ("Connection", "close"))
    headers = [*((n, v) for n, v in defaults if n.lower() not in names), *own]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers if value or name.lower() not in _OMITTED)
    path = url.path or "/"
    return f"GET {path}{'?' + url.query if url.query else ''} HTTP/1.1\r\n{lines}\r\n".encode()


_OMITTED = ("user-agent", "accept")


async def _head(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status and location of the first final response."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        words = line.split(" ", 2)
        if not line.startswith("HTTP/") or len(words) < 2 or not (words[1].isascii() and words[1].isdigit()):
            return 0, ""
        if not 100 <= int(words[1]) < 200 or words[1] == "101":
            location = next((f.partition(":")[2].strip() for f in fields if f.lower().startswith("location:")), "")
            return int(words[1]), location
