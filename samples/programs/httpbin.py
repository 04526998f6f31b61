"""The part of go-httpbin that walk-throughs use. Argument: port.

Values in `args` and `headers` are lists, as in go-httpbin 2; the older httpbin had plain strings.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import sys
import time
import urllib.parse
import uuid
from http.cookies import SimpleCookie
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, serve

INDEX = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>httpbin</title></head><body><h1>httpbin</h1>"
    "<p>Try <a href='/get'>/get</a>, <a href='/headers'>/headers</a>, <a href='/ip'>/ip</a>, "
    "<a href='/status/418'>/status/418</a>, <a href='/delay/1'>/delay/1</a> or <a href='/uuid'>/uuid</a>.</p></body></html>"
)
METHODS = {"get": ("GET", "HEAD"), "post": ("POST",), "put": ("PUT",), "patch": ("PATCH",), "delete": ("DELETE",)}
LONGEST_DELAY_S = 10.0
MOST_BYTES = 100 * 1024


def headers_of(request: Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        found.setdefault("-".join(part.capitalize() for part in name.split("-")), []).append(str(value))
    return found


def described(request: Request) -> dict[str, Any]:
    """What a request looked like on arrival."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    found: dict[str, Any] = {
        "args": urllib.parse.parse_qs(request.query, keep_blank_values=True),
        "headers": headers_of(request),
        "method": request.method,
        "origin": (request.headers.get("x-forwarded-for") or request.peer).split(",")[0].strip(),
        "url": f"{scheme}://{request.headers.get('host', '')}{request.target}",
    }
    if request.method in ("GET", "HEAD"):
        return found
    text = request.body.decode(errors="replace")
    kind = request.headers.get("content-type", "")
    found |= {"data": text, "files": {}, "form": {}, "json": None}
    if kind.startswith("application/x-www-form-urlencoded"):
        found["form"] = urllib.parse.parse_qs(text, keep_blank_values=True)
    elif kind.startswith("application/json"):
        try:
            found["json"] = json.loads(text)
        except ValueError:
            found["json"] = None
    return found


def problem(status: int, text: str) -> Response:
    return as_json({"status_code": status, "error": text}, status)


def seconds(text: str) -> float:
    """A delay such as `2`, `0.5`, `1s` or `300ms`. Raises ValueError."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("", 1.0)):
        if text.endswith(unit):
            value = float(text.removesuffix(unit)) * factor
            if not 0 <= value < float("inf"):
                break
            return min(value, LONGEST_DELAY_S)
    raise ValueError(f"not a delay: {text}")


def authorised(request: Request, user: str, password: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        return scheme.lower() == "basic" and base64.b64decode(given).decode() == f"{user}:{password}"
    except (binascii.Error, UnicodeDecodeError):
        return False


def cookies(request: Request, verb: str) -> Response:
    if not verb:
        jar = SimpleCookie(request.headers.get("cookie", ""))
        return as_json({"cookies": {name: morsel.value for name, morsel in jar.items()}})
    if verb not in ("set", "delete"):
        return problem(404, "not found")
    jar = SimpleCookie()
    for name, value in urllib.parse.parse_qsl(request.query, keep_blank_values=True):
        jar[name] = value if verb == "set" else ""
        jar[name]["path"] = "/"
        if verb == "delete":
            jar[name]["max-age"] = 0
    fields = [("location", "/cookies"), *(("set-cookie", m.OutputString()) for m in jar.values())]
    return Response("", 302, fields=fields)


def with_argument(request: Request, head: str, rest: list[str]) -> Response:
    """Pages whose path carries an argument. Raises ValueError if it makes no sense."""
    first = rest[0] if rest else ""
    if head == "status":
        status = int(first)
        if not 200 <= status <= 599:
            raise ValueError(f"status must be 200 to 599, not {status}")
        if status in (301, 302, 303, 307, 308):
            return Response("", status, location="/redirect/1")
        return Response("I'm a teapot!\n" if status == 418 else "", status)
    if head == "delay":
        time.sleep(seconds(first))
        return as_json(described(request))
    if head == "bytes":
        return Response(os.urandom(min(max(int(first), 0), MOST_BYTES)), kind="application/octet-stream")
    if head in ("redirect", "relative-redirect"):
        left = int(first)
        if left < 1:
            raise ValueError("a redirect needs a count of at least 1")
        return Response("", 302, location="/get" if left == 1 else f"/redirect/{left - 1}")
    if head == "base64":
        text = rest[1] if len(rest) > 1 and rest[0] == "decode" else first
        return Response(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if head == "basic-auth" and len(rest) == 2:
        if authorised(request, *rest):
            return as_json({"authorized": True, "authenticated": True, "user": first})
        return Response("", 401, www_authenticate='Basic realm="Fake Realm"')
    return problem(404, "not found")


def page(request: Request) -> Response:
    head, *rest = urllib.parse.unquote(request.path).strip("/").split("/")
    allowed = METHODS.get(head)
    if allowed and not rest:
        return as_json(described(request)) if request.method in allowed else problem(405, "method not allowed")
    if head == "anything":
        return as_json(described(request))
    if not rest and head in ("headers", "ip", "user-agent"):
        key = "origin" if head == "ip" else head
        return as_json({key: {**described(request), "user-agent": request.headers.get("user-agent", "")}[key]})
    if head == "response-headers":
        given = urllib.parse.parse_qsl(request.query)
        if any("\r" in part or "\n" in part for pair in given for part in pair):
            return problem(400, "headers have no line ends")
        return Response(json.dumps(dict(given)), kind="application/json", fields=given)
    if head == "cookies":
        return cookies(request, rest[0] if rest else "")
    if head == "uuid":
        return as_json({"uuid": str(uuid.uuid4())})
    if head == "health":
        return Response("ok")
    if not head:
        return Response(INDEX, kind="text/html; charset=utf-8")
    try:
        return with_argument(request, head, rest)
    except ValueError as error:
        return problem(400, str(error))


def logged(request: Request) -> Response:
    """The answer, and a line of the access log: where a mirrored request shows itself."""
    made = page(request)
    agent, at = request.headers.get("user-agent", "-"), time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    line = f"{request.method} {request.target} HTTP/1.1"
    print(f'{request.peer} - - [{at}] "{line}" {made.status} {len(made.body)} "-" "{agent}"', flush=True)
    return made


if __name__ == "__main__":
    # A port, or the arguments of the image's own server: `-b 0.0.0.0:8080 …`
    ports = [m[1] for m in (re.fullmatch(r"(?:.*:)?(\d+)", a) for a in sys.argv[1:]) if m]
    serve(logged, int(ports[0]) if ports else 8080)
