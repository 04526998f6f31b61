"""A table that changes in every open browser: `/api?id=N&value=TEXT` sets a row, `/ws` tells. Argument: port.

In the place of the Tornado example that Istio's WebSocket sample runs, on its paths.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, serve
from websocket import Socket, upgrade

WATCHERS: set[Socket] = set()
LOCK = threading.Lock()
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>WebSocket sample</title>
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border:1px solid #8886;padding:.4rem .8rem;text-align:left}</style>
<h1>WebSocket sample</h1><p id="state" role="status">connecting</p><p>Set a row with <code>/api?id=1&amp;value=hello</code>.</p>
<table><thead><tr><th>id<th>value</thead><tbody><tr><td>1<td id="1"><tr><td>2<td id="2"><tr><td>3<td id="3"></tbody></table>
<script>const state=document.getElementById("state");
const link=new WebSocket((location.protocol=="https:"?"wss://":"ws://")+location.host+"/ws");
link.onopen=()=>state.textContent="connected";link.onclose=()=>state.textContent="closed";
link.onmessage=e=>{const row=JSON.parse(e.data);const cell=document.getElementById(row.id);if(cell)cell.textContent=row.value}</script></html>"""


def watch(link: Socket) -> None:
    with LOCK:
        WATCHERS.add(link)
    try:
        for _ in link.messages():
            pass  # watchers only listen
    finally:
        with LOCK:
            WATCHERS.discard(link)


def page(request: Request) -> Response:
    if request.path == "/ws":
        return upgrade(request, watch)
    if request.path == "/api":
        form = urllib.parse.parse_qs(request.query)
        row = {"id": form.get("id", [""])[0], "value": form.get("value", [""])[0]}
        with LOCK:
            watchers = list(WATCHERS)
        for link in watchers:
            try:
                link.send(json.dumps(row))
            except OSError:
                with LOCK:
                    WATCHERS.discard(link)
        return as_json(row)
    if request.path in ("/", "/index.html"):
        return Response(PAGE, kind="text/html; charset=utf-8")
    return Response("not found\n", 404)


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 8888)
