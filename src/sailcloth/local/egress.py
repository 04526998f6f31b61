"""Egress: relays TCP connections of pods to addresses outside the cluster through the host's network.

The listener is created in the node's network namespace and accepted here, in the host's; SO_ORIGINAL_DST has the destination.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct

_CHUNK = 1 << 16
_CLUSTER = tuple(ipaddress.ip_network(c) for c in ("10.42.0.0/16", "10.96.0.0/16", "169.254.1.1/32"))
_REFUSED = tuple(ipaddress.ip_network(c) for c in ("127.0.0.0/8", "0.0.0.0/8"))


async def serve(listener: socket.socket) -> asyncio.Server:
    """Start relaying."""
    listener.setblocking(False)
    return await asyncio.start_server(_relay, sock=listener)


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
    await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))


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
