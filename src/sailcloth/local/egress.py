"""Egress: relays TCP connections of pods to addresses outside the cluster through the host's network.

The listener is created in the node's network namespace and accepted here, in the host's; SO_ORIGINAL_DST has the destination.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from pathlib import Path

_CHUNK = 1 << 16
_CLUSTER = tuple(ipaddress.ip_network(c) for c in ("10.42.0.0/16", "10.96.0.0/16", "169.254.1.1/32"))
_REFUSED = tuple(ipaddress.ip_network(c) for c in ("127.0.0.0/8", "0.0.0.0/8"))


async def serve(listener: socket.socket) -> asyncio.Server:
    """Start relaying."""
    listener.setblocking(False)
    return await asyncio.start_server(_relay, sock=listener)


async def serve_to(path: Path, host: str, port: int, tls: bool) -> asyncio.Server:
    """Relay a Unix socket of this user to one server, which may be on the host's loopback: the user has named it. With TLS the server's
    certificate is verified by the system's roots."""
    context = ssl.create_default_context() if tls else None

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), 10)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        await _join(reader, writer, *there)

    path.unlink(missing_ok=True)
    return await asyncio.start_unix_server(relay, str(path))


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        created = writer.get_extra_info("socket")
        _, port, raw = struct.unpack_from(">HH4s", created.getsockopt(socket.IPPROTO_IP, 80, 16))
        address = ipaddress.ip_address(raw)
        # Pods must not reach the host's loopback, and a direct connection to this port would loop.
        if any(address in n for n in (*_CLUSTER, *_REFUSED)):
            writer.transport.abort()
            return
        other_reader, other_writer = await asyncio.wait_for(asyncio.open_connection(str(address), port), 10)
    except (OSError, TimeoutError):
        writer.transport.abort()
        return
    await _join(reader, writer, other_reader, other_writer)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Copy both directions until both have ended, and close."""
    try:
        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
    finally:
        writer.close()
        other_writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction until its end."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()
    finally:
        if reader.at_eof():
            await asyncio.sleep(0)
    with contextlib.suppress(OSError):
        if writer.transport.is_closing():
            writer.close()
