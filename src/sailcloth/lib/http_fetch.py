"""Fetches small documents from addresses that users wrote, so that none of them reaches what only this process can reach.

Each address is checked where its socket is made: after every redirect, and whatever a name resolves to. Bounded in size, time and
redirects. Must not send credentials.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REDIRECTS = 3
_LARGEST = 1 << 20


class FetchError(Exception):
    """The document could not be fetched; the text says why, and has no part of the document."""


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Networks of texts. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in cidrs)


async def fetch(
    url: str,
    timeout_s: float,
    blocked: Sequence[Network] = (),
    lookup: Callable[[str], str | None] = lambda name: None,
) -> bytes:
    """The body of a response with status 200, of at most 1 MiB.

    blocked: networks that it does not connect to. lookup: the address of a name; None: ask DNS. Raises FetchError.
    """

    def connect(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_blocked(str(address[0]), blocked):
            raise OSError(f"the address {address[0]} is blocked")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(resolver=_Resolver(lookup), socket_factory=connect, use_dns_cache=False)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        plain = _without_credentials(url)
    except ValueError as error:
        raise FetchError(f"not a URL: {error}") from None
    try:
        session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, headers={"Accept-Encoding": "identity"}
        )
        async with session, asyncio.timeout(timeout_s):
            return await _follow(plain, lambda at: session.get(at, allow_redirects=False))
    except TimeoutError:
        raise FetchError(f"{plain}: no answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(f"{plain}: {_reason(error)}") from None


async def _follow(url: str, get: Callable[[str], Any]) -> bytes:
    at = url
    for _ in range(_REDIRECTS + 1):
        async with get(at) as response:
            if response.status in (301, 302, 303, 307, 308):
                target = urljoin(at, response.headers.get("Location", ""))
                if urlsplit(target).scheme not in ("https", urlsplit(at).scheme):
                    raise FetchError(f"{url}: it redirects from https to {urlsplit(target).scheme or 'nothing'}")
                at = _without_credentials(target)
                continue
            if response.status != 200:
                raise FetchError(f"{url}: status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > _LARGEST:
                    raise FetchError(f"{url}: more than {_LARGEST >> 20} MiB")
            return bytes(body)
    raise FetchError(f"{url}: more than {_REDIRECTS} redirects")


def _without_credentials(url: str) -> str:
    """The URL without user name and password, which are neither sent nor told."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def is_blocked(address: str, blocked: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; an IPv4 address also in its IPv6 form."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return any(one in network for network in blocked for one in (ip, mapped) if one is not None)


def _reason(error: Exception) -> str:
    inner = getattr(error, "os_error", None) or error
    return getattr(inner, "strerror", None) or str(inner) or type(error).__name__


class _Resolver(AbstractResolver):
    """Resolves names by a function, or else by DNS."""

    def __init__(self, lookup: Callable[[str], str | None]) -> None:
        self._lookup, self._dns = lookup, aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        address = self._lookup(host)
        if address is None:
            return await self._dns.resolve(host, port, family)
        version = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(hostname=host, host=address, port=port, family=version, proto=0, flags=socket.AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        await self._dns.close()


Fetch = Callable[[str, float, Sequence[Network], Callable[[str], str | None]], Awaitable[bytes]]
"""The type of `fetch`, for tests that replace it."""
