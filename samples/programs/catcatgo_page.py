"""CatCatGo's page: kittens, found by the back end at SEARCH_URL. Argument: port. Version 2 shows them in a grid, on pink."""

from __future__ import annotations

import html
import http.client
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, call, forward, serve

SEARCH = os.environ.get("SEARCH_URL", "http://search:8000").rstrip("/")
VERSION = os.environ.get("SERVICE_VERSION", "v1")
STYLE = {
    "v1": "body{font-family:sans-serif} img{display:block;margin:8px}",
    "v2": "body{font-family:sans-serif;background:#ffe3ee} main{display:grid;grid-template-columns:repeat(4,1fr)}",
}


def page(request: Request) -> Response:
    if request.path == "/health":
        return as_json({"status": "healthy"})
    headers = forward(request.headers)
    try:
        if request.path.startswith("/pictures/"):
            status, body = call(f"{SEARCH}/api/v1.0{request.path}", headers)
            return Response(body, status, "image/svg+xml" if status == 200 else "application/json")
        if request.path != "/":
            return Response("not found\n", 404)
        status, body = call(f"{SEARCH}/api/v1.0/search/kitten", headers)
        kittens = json.loads(body)["results"] if status == 200 else None
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        kittens = None
    if kittens is None:
        inner = "<p>The kittens are asleep. Try again.</p>"
    else:
        inner = "".join(
            f'<img src="{html.escape(k["url"])}" alt="{html.escape(k["name"])}" width="160">' for k in kittens
        )
    text = f"""<!doctype html>
<html lang="en"><head><title>CatCatGo</title><style>{STYLE.get(VERSION, STYLE["v1"])}</style></head>
<body><h1>CatCatGo {html.escape(VERSION)}</h1><main>{inner or "<p>No kitten yet.</p>"}</main></body></html>
"""
    return Response(text, 200 if kittens is not None else 503, "text/html; charset=utf-8", x_version=VERSION)


if __name__ == "__main__":
    serve(page, int(sys.argv[1]))
