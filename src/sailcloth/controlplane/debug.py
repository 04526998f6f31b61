"""The debug pages and the log scopes over HTTP. Must not decide what a page shows: that is `debug_pages`."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from . import log_scopes
from .debug_pages import DebugPages

Scope = Callable[[web.Request], Awaitable[str]]
"""The namespace whose proxies a caller may see; `*` for all. Raises PermissionError."""
_STATUS = ((PermissionError, 403), (LookupError, 404), (ValueError, 400))
Handler = Callable[[web.Request], Awaitable[web.Response]]


def json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value, option=orjson.OPT_INDENT_2), content_type="application/json")


def routes(pages: DebugPages, scope: Scope) -> list[web.RouteDef]:
    """The pages. Each shows a caller only what is in its scope."""

    def guarded(page: Callable[[web.Request, str], Awaitable[web.Response]], everybody: bool = True) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            try:
                namespace = await scope(request)
            except PermissionError as error:
                return web.Response(status=401, text=f"{error}; send a service account's token (audience istio-ca)\n")
            try:
                if not everybody and namespace != "*":
                    raise PermissionError("only tokens of the installation's namespace may see or set log levels")
                return await page(request, namespace)
            except (PermissionError, LookupError, ValueError) as error:
                status = next(number for kind, number in _STATUS if isinstance(error, kind))
                return web.Response(status=status, text=f"{error.args[0]}\n")

        return handler

    async def page(request: web.Request, allowed: str) -> web.Response:
        value = pages.answer(request.match_info["page"], request.query, allowed)
        return web.Response(text=value + "\n") if isinstance(value, str) else json(value)

    async def index(_: web.Request, allowed: str) -> web.Response:
        rows = "".join(f'<li><a href="/debug/{n}">{html.escape(n)}</a></li>' for n in pages.pages())
        scopes = '<li><a href="/scopej/">log scopes</a></li>'
        text = f"<!DOCTYPE html><title>istiod</title><h1>Debug pages of {pages.name}</h1><ul>{rows}{scopes}</ul>"
        return web.Response(text=text, content_type="text/html")

    async def scopes(request: web.Request, allowed: str) -> web.Response:
        name = request.match_info.get("scope", "")
        return json(log_scopes.scope(name) if name else log_scopes.scopes())

    async def set_scope(request: web.Request, allowed: str) -> web.Response:
        body = orjson.loads(await request.read())
        if not isinstance(body, dict):
            raise ValueError("the body is no object with output_level")
        log_scopes.set_level(request.match_info["scope"], str(body.get("output_level", "")))
        return web.Response(status=202)

    return [
        web.get("/", guarded(index)),
        web.get("/debug", guarded(index)),
        web.get("/debug/{page}", guarded(page)),
        web.get("/scopej/", guarded(scopes, False)),
        web.get("/scopej/{scope}", guarded(scopes, False)),
        web.put("/scopej/{scope}", guarded(set_scope, False)),
    ]
