"""What a pod's Envoy has against what it is to have, and its log levels: from its admin interface, through the API server's port-forward
with the user's own token.

Only `/config_dump` and `/logging` are asked for: other pages could end the proxy. A console for viewing only opens no tunnel, for the right
to open one is a right to write.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator

import orjson
from aiohttp import web

from sailcloth.analysis import proxy_tables
from sailcloth.kube import ApiError, Client, envoy_admin

from .access import Access
from .answers import USER, BadQuery, Forbidden, answer, body
from .assemble import Scope
from .proxy_config import redacted
from .schema_details import LogLevel, LogLevels, ProxyDifference
from .sources import ControlPlane, Unavailable

LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_LOGGER = re.compile(r"[a-z0-9_.-]{1,64}")
_READ_S = 30.0
_LINES = 5000  # of differences, of each type


class EnvoyPages:
    """The routes of Envoy's own state. proxy: the POD.NAMESPACE of a request, and what its user may see. act_as: a client for a user's
    token; without it the console is for viewing only."""

    def __init__(
        self,
        control_plane: ControlPlane,
        access: Access,
        proxy: Callable[..., Awaitable[tuple[str, Scope]]],
        act_as: Callable[[str], Client] | None,
    ) -> None:
        self._control_plane, self._access, self._proxy, self._act_as = control_plane, access, proxy, act_as
        self._turn = asyncio.Lock()  # a comparison holds two configurations in memory

    def routes(self) -> list[web.RouteDef]:
        """What they serve."""
        return [
            web.get("/api/proxy-config/difference", self._difference),
            web.get("/api/proxy-config/logging", self._levels),
            web.post("/api/proxy-config/logging", self._set_level),
        ]

    async def _difference(self, request: web.Request) -> web.Response:
        proxy, _ = await self._proxy(request)
        if not await self._access.reads_all(request[USER]):
            raise Forbidden(
                "what a proxy has names all namespaces, and you may not list the pods of all",
                "Its sync state, in the tables, says whether it has taken everything.",
            )
        async with self._turn:
            text = await self._page(request, proxy, "/config_dump")
            wanted = await self._control_plane.config_dump(proxy)
            return answer(await asyncio.to_thread(lambda: list(differences(wanted, orjson.loads(text)))))

    async def _levels(self, request: web.Request) -> web.Response:
        proxy, _ = await self._proxy(request)
        return answer(LogLevels(levels=levels(await self._page(request, proxy, "/logging", "POST"))))

    async def _set_level(self, request: web.Request) -> web.Response:
        wanted = await body(request, LogLevel)
        if wanted.level not in LEVELS or (wanted.logger and not _LOGGER.fullmatch(wanted.logger)):
            raise BadQuery(f"level: use {', '.join(LEVELS)}; logger: a name, or none for all")
        proxy, _ = await self._proxy(request, wanted.namespace, wanted.pod)
        change = f"paths={wanted.logger}:{wanted.level}" if wanted.logger else f"level={wanted.level}"
        return answer(LogLevels(levels=levels(await self._page(request, proxy, f"/logging?{change}", "POST"))))

    async def _page(self, request: web.Request, proxy: str, path: str, method: str = "GET") -> str:
        """A page of the proxy's admin interface. Raises Forbidden, Unavailable, ApiError."""
        if self._act_as is None:
            raise Forbidden(
                "this console is for viewing only, and opens no connection to proxies",
                "Use `sailctl proxy-status POD` and `sailctl proxy-config log POD`.",
            )
        pod, _, namespace = proxy.rpartition(".")
        try:
            async with asyncio.timeout(_READ_S), self._act_as(await self._access.credential(request[USER])) as client:
                return await envoy_admin.page(client, pod, namespace, path, method)
        except ApiError as error:
            if error.status != 403:
                raise
            raise Forbidden(
                f"you may not forward ports of pods in namespace {namespace}",
                f"Ask for the right: `kubectl auth can-i create pods --subresource=portforward -n {namespace}`.",
            ) from None
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"Envoy of {proxy} does not answer: {error or 'it takes too long'}") from None


def differences(wanted: dict[str, object], has: dict[str, object]) -> Iterator[ProxyDifference]:
    """The differences of each type of resource, without secrets, as lines of a unified diff; none where both are alike."""
    two = redacted(wanted), redacted(has)
    for part, text in zip(("cluster", "listener", "route"), proxy_tables.differences(*two), strict=True):
        lines = [] if text.endswith(" Match") and "\n" not in text else text.split("\n")
        yield ProxyDifference(part=part, lines=lines[:_LINES], cut=max(0, len(lines) - _LINES))  # type: ignore[arg-type]


def levels(text: str) -> dict[str, str]:
    """Levels by logger, from what Envoy answers to `/logging`."""
    found = (line.strip().partition(": ") for line in text.splitlines())
    return {logger: level for logger, _, level in found if level in LEVELS}
