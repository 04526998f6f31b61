"""Clients of the servers that replace the embedded stores or get a copy: a session for each origin, and a reverse proxy handler.

A session connects to the Unix socket of its origin, if there is one: the embedded cluster's network has no other route to the host.
It sends plain HTTP through the socket also to an `https` origin, since the relay behind it originates TLS.
Messages and logs never have a URL's user and password.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from aiohttp import web
from yarl import URL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)
# Headers of one connection, which are not passed on.
_OWN = {"connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"}
_OWN |= {"te", "trailer", "transfer-encoding", "upgrade"}


def origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    return str(URL(url).origin())


class Upstreams:
    """The sessions. sockets: paths of Unix sockets by origin."""

    def __init__(self, sockets: Mapping[str, str]) -> None:
        self._sockets, self._sessions = sockets, dict[str, aiohttp.ClientSession]()

    def session(self, url: str) -> aiohttp.ClientSession:
        """The session for a URL."""
        key = origin(url)
        if key not in self._sessions:
            path = self._sockets.get(key)
            self._sessions[key] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path) if path else None,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_TIMEOUT,
            )
        return self._sessions[key]

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of a POST. Raises OSError or TimeoutError."""
        try:
            async with self.session(url).post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except aiohttp.ClientError as error:
            raise OSError(f"{origin(url)}: {type(error).__name__}") from None

    def handler(self, url: str) -> Handler:
        """A reverse proxy to the server; it answers 502 if the server does not respond."""

        async def relayed(request: web.Request) -> web.StreamResponse:
            path = request.rel_url.raw_path_qs
            if not path.startswith("/"):
                return web.Response(status=400, text="the request names no path\n")
            target = URL(url.rstrip("/") + path, encoded=True)
            left_out = _OWN | ({"authorization"} if target.user else set())  # the URL's credentials take its place
            headers = [(k, v) for k, v in request.headers.items() if k.lower() not in left_out]
            body = await request.read() if request.body_exists else None
            response: web.StreamResponse | None = None
            try:
                async with self.session(url).request(
                    request.method, target, headers=headers, data=body, allow_redirects=False
                ) as answer:
                    response = web.StreamResponse(status=answer.status)
                    response.headers.extend((k, v) for k, v in answer.headers.items() if k.lower() not in _OWN)
                    await response.prepare(request)
                    async for part in answer.content.iter_any():
                        await response.write(part)
                    with contextlib.suppress(ConnectionError):
                        await response.write_eof()
                    return response
            except (aiohttp.ClientError, TimeoutError) as error:
                if response is None:
                    text = f"{origin(url)} does not answer ({type(error).__name__}); is it running?\n"
                    return web.Response(status=502, text=text)
                if request.transport is not None:
                    request.transport.abort()  # half an answer must not look like a whole one
                return response

        return relayed
