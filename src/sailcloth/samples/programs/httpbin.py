"""The part of httpbin that walk-throughs use. Argument: port."""

from __future__ import annotations

import os
import sys
import time
import urllib.parse
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, serve


def described(request: Request) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault("-".join(p.capitalize() for p in name.split("-")), []).append(value)
    return {
        "args": urllib.parse.parse_qs(request.query),
        "headers": headers,
        "method": request.method,
        "origin": request.peer,
        "url": f"http://{request.headers.get('host', '')}{request.target}",
    }


def page(request: Request) -> Response:
    parts = request.path.strip("/").split("/")
    head = parts[0]
    if head in ("get", "post", "put", "patch", "delete", "anything", "headers", "ip", "user-agent"):
        if head in ("post", "put", "patch", "delete") and request.method != head.upper():
            return as_json({"error": "method not allowed"}, 405)
        found = described(request)
        if head == "headers":
            return as_json({"headers": found["headers"]})
        if head == "ip":
            return as_json({"origin": found["origin"]})
        if head == "user-agent":
            return as_json({"user-agent": request.headers.get("user-agent", "")})
        if request.body:
            found["data"] = request.body.decode(errors="replace")
        return as_json(found)
    if head == "status" and len(parts) > 1 and parts[1].isdigit():
        return Response("", int(parts[1]))
    if head == "delay" and len(parts) > 1:
        time.sleep(min(float(parts[1]), 10))
        return as_json(described(request))
    if head == "bytes" and len(parts) > 1 and parts[1].isdigit():
        return Response(os.urandom(min(int(parts[1]), 1 << 20)), kind="application/octet-stream")
    if head == "health":
        return Response("ok")
    return as_json({"error": "not found"}, 404) if head else Response("httpbin: see /get, /headers, /status/418\n")


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
