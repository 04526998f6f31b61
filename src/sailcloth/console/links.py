"""Short links: a name of eight characters for the path and query of a view, so that it fits into a message.

Who knows a name may follow it without a login, for a browser sends no cookie with a link from another site; so names are random, and a
path holds what the page's URL holds, never a token. Must not answer anything but paths of this console.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
from aiohttp import web

from sailcloth.lib.private_file import write_private

from .answers import BadQuery, Missing, answer, body

log = logging.getLogger(__name__)

_MOST = 1000  # the link not used for the longest time goes first
_LONGEST = 4096  # characters of a path
_NAME_BYTES = 6


class LongLink(msgspec.Struct, frozen=True):
    """`path`: of a page of the console, with its query."""

    path: str


class ShortLink(msgspec.Struct, frozen=True):
    """`path`: of the short link, `/l/NAME`."""

    path: str


POSTS = (("/api/links", "A short link to a view.", LongLink, ShortLink),)


class Links:
    """Paths by name, the last 1000. file: where they are kept; None for memory only."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._paths: OrderedDict[str, str] = OrderedDict(_read(file) if file else ())

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/links", self._add), web.get("/l/{name}", self._follow)]

    async def _add(self, request: web.Request) -> web.Response:
        path = _checked((await body(request, LongLink)).path)
        name = next((n for n, known in self._paths.items() if known == path), None)
        if name is None:
            name = secrets.token_urlsafe(_NAME_BYTES)
            self._paths[name] = path
            while len(self._paths) > _MOST:
                self._paths.popitem(last=False)
            self._keep()
        else:
            self._paths.move_to_end(name)
        return answer(ShortLink(f"/l/{name}"))

    async def _follow(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        path = self._paths.get(name)
        if path is None:
            raise Missing(
                f"there is no short link {name!r}, or {_MOST} others were made since", "Ask for the long one."
            )
        self._paths.move_to_end(name)
        return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})

    def _keep(self) -> None:
        if self._file is None:
            return
        try:
            write_private(self._file, msgspec.json.encode(list(self._paths.items())))
        except OSError as error:
            log.warning("short links are not kept over a restart: %s: %s", self._file, error)


def _read(file: Path) -> list[tuple[str, str]]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[tuple[str, str]])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("short links of before are lost: %s: %s", file, error)
        return []


def _checked(path: str) -> str:
    """The path, if a link may lead to it. Raises BadQuery."""
    if len(path) > _LONGEST:
        raise BadQuery(f"path: at most {_LONGEST} characters")
    inside = path.startswith("/") and not path.startswith(("//", "/api/", "/l/"))
    if not inside or "\\" in path or not (path.isascii() and path.isprintable()):
        raise BadQuery("path: give the path and query of a page of this console, such as /graph?namespaces=shop")
    if "token" in parse_qs(urlsplit(path).query, keep_blank_values=True):
        raise BadQuery("path: a link to others must not hold your token")
    return path
