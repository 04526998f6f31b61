"""Sock Shop catalogue: socks, their tags and pictures. Argument: `-port=N`. The socks come from catalogue-db."""

from __future__ import annotations

import os
import sys
import urllib.parse
import zlib
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sock_shop import address, health, missing, port
from store import Store
from web import Request, Response, as_json, serve

STORE = Store(address("catalogue-db", 3306), greets=True)
COLOURS = {"black": "#2b2f36", "blue": "#2f6fb0", "brown": "#8a5a35", "green": "#3f8f5a", "red": "#c23b3b", "skin": "#d9a98b"}  # fmt: skip
SORTS = {"id": "id", "name": "name", "price": "price", "count": "count"}


def chosen(tags: str) -> list[dict[str, Any]]:
    """The socks that have one of these tags (by comma); all, without."""
    wanted = {t for t in tags.split(",") if t}
    return [s for s in STORE.ask("find", table="socks") if not wanted or wanted & set(s["tag"])]


def number(text: str, default: int) -> int:
    return max(1, int(text)) if text.isdigit() else default


def listed(form: dict[str, str]) -> list[dict[str, Any]]:
    """One page of socks. `sort` names a field, `page` counts from 1, `size` is ten unless told."""
    found = chosen(form.get("tags", ""))
    key = SORTS.get(form.get("sort") or form.get("order", ""), "id")
    found.sort(key=lambda s: s[key])
    page, size = number(form.get("page", ""), 1), number(form.get("size", ""), 10)
    return found[(page - 1) * size : page * size]


def picture(name: str) -> Response:
    """A drawing of a sock in the colours of its tags."""
    ident, _, variant = name.removesuffix(".svg").rpartition(".")
    sock = STORE.ask("get", table="socks", id=ident)
    if sock is None:
        return missing()
    seed = zlib.crc32(ident.encode())
    own = [COLOURS[t] for t in sock["tag"] if t in COLOURS]
    first = own[0] if own else f"hsl({seed % 360} 55% 48%)"
    second = own[1] if len(own) > 1 else f"hsl({(seed >> 9) % 360} 60% 70%)"
    if variant == "2":
        first, second = second, first
    stripes = "".join(f'<rect x="0" y="{y}" width="200" height="9" fill="{second}"/>' for y in range(58, 128, 22))
    sock_path = "M70 24h62v92c0 10 3 16 12 24l22 20c16 15 8 38-12 38h-22c-12 0-20-4-28-12l-24-25c-8-9-10-16-10-27z"
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 220 220" role="img">'
        f'<clipPath id="c"><path d="{sock_path}"/></clipPath><g clip-path="url(#c)"><rect width="220" height="220" fill="{first}"/>'
        f'{stripes}<rect x="60" y="20" width="90" height="20" fill="{second}"/><circle cx="160" cy="184" r="34" fill="{second}"/></g></svg>'
    )
    return Response(text, kind="image/svg+xml")


def answer(request: Request) -> Response:
    form = {k: v[-1] for k, v in urllib.parse.parse_qs(request.query).items()}
    parts = request.path.strip("/").split("/")
    if request.path == "/health":
        return health("catalogue", STORE)
    if request.path == "/metrics":
        return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
    if parts == ["tags"]:
        return as_json({"tags": sorted({t for s in chosen("") for t in s["tag"]}), "err": None})
    if parts == ["catalogue"]:
        return as_json(listed(form))
    if parts == ["catalogue", "size"]:
        return as_json({"size": len(chosen(form.get("tags", ""))), "err": None})
    if parts[:2] == ["catalogue", "images"] and len(parts) == 3:
        return picture(parts[2])
    if parts[0] == "catalogue" and len(parts) == 2:
        sock = STORE.ask("get", table="socks", id=parts[1])
        return missing() if sock is None else as_json(sock)
    return missing()


def page(request: Request) -> Response:
    try:
        made = answer(request)
    except (OSError, ValueError) as error:
        made = missing(f"database connection error: {error}", 500)
    if request.path != "/health":
        print(f"{request.method} {request.target} {made.status}", flush=True)
    return made


if __name__ == "__main__":
    serve(page, port())
