"""Stands in for CoreDNS where its plugin `whoami` is asked, over UDP at port 53: says who asked, in the additional section.

Every name is in the zone. Answers what is no query with nothing, as a DNS server does.
"""

from __future__ import annotations

import socket
import struct

PORT = 53


def answer(query: bytes, client: tuple[str, int]) -> bytes:
    """The answer to a query with one question; empty for what is none."""
    if len(query) < 17 or query[2] & 0x80 or struct.unpack_from("!H", query, 4)[0] != 1:
        return b""
    end = 12
    while end < len(query) and query[end]:
        end += query[end] + 1
    question = query[12 : end + 5]
    if len(question) != end - 7:
        return b""
    flags = 0x8400 | (query[2] & 0x01) << 8  # a response, authoritative; whether recursion was desired
    additional = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(client[0])
    port = b"\x04_udp\xc0\x0c" + struct.pack("!HHIHHHH", 33, 1, 0, 7, 0, 0, client[1]) + b"\x00"
    return query[:2] + struct.pack("!HHHHH", flags, 1, 0, 0, 2) + question + additional + port


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", PORT))
        while True:
            query, client = server.recvfrom(4096)
            if response := answer(query, client):
                server.sendto(response, client)


if __name__ == "__main__":
    main()
