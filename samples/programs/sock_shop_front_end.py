"""Sock Shop front end: the pages, and the paths that they ask, over all the other services. Argument: port.

Blue is version v1, red v2 (SERVICE_VERSION, or the image's tag in IMAGE_TAG). With SESSION_REDIS=true sessions are kept in
session-db, so that both versions know the same visitors; otherwise in memory.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sock_shop_pages
from sock_shop import address, ask, fields, missing, port
from web import Request, Response, as_json, call, forward, serve

TAG = os.environ.get("IMAGE_TAG", "")
VERSION = os.environ.get("SERVICE_VERSION") or ("v2" if TAG.startswith(("v2", "2.")) or "red" in TAG else "v1")
POD = os.environ.get("HOSTNAME", "")
CATALOGUE_LIMIT_S = 15.0  # longer than the delays that walk-throughs inject into the catalogue
SESSION_S = 86400
COUNTS: dict[tuple[str, str, int], int] = {}
LOCK = threading.Lock()


class Sessions:
    """Small documents by session id, in Redis or in memory."""

    def __init__(self, where: str) -> None:
        self._where, self._kept = where, dict[str, dict[str, str]]()

    def get(self, ident: str) -> dict[str, str]:
        if not self._where:
            return self._kept.get(ident, {})
        found = self._redis(b"GET", f"sess:{ident}".encode())
        return dict(json.loads(found)) if found else {}

    def put(self, ident: str, value: dict[str, str]) -> None:
        if self._where:
            self._redis(b"SET", f"sess:{ident}".encode(), json.dumps(value).encode(), b"EX", b"%d" % SESSION_S)
        else:
            self._kept[ident] = value

    def _redis(self, *words: bytes) -> bytes | None:
        """One command on a link of its own: a reply of bytes, or None. Raises OSError."""
        host, _, number = self._where.rpartition(":")
        with socket.create_connection((host, int(number)), timeout=3) as link, link.makefile("rb") as lines:
            link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            head = lines.readline()
            if not head or head.startswith(b"-"):
                raise OSError(f"session-db: {head.decode(errors='replace').strip() or 'no answer'}")
            size = int(head[1:]) if head.startswith(b"$") else -1
            return lines.read(size + 2)[:-2] if size >= 0 else None


SESSIONS = Sessions(address("session-db", 6379) if os.environ.get("SESSION_REDIS") == "true" else "")


class Visit:
    """One request with the session it belongs to; what must be set in the browser gathers in `cookies`."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.cookies: list[tuple[str, str]] = []
        morsel = SimpleCookie(request.headers.get("cookie", "")).get("md.sid")
        self.session = morsel.value if morsel else ""
        self.known = SESSIONS.get(self.session) if self.session else {}
        if not self.session or not self.known:
            self.session, self.known = secrets.token_urlsafe(24), {"since": VERSION}
            SESSIONS.put(self.session, self.known)
            self.cookies.append(("set-cookie", f"md.sid={self.session}; Path=/; HttpOnly; SameSite=Lax"))

    @property
    def customer(self) -> str:
        return self.known.get("customerId", "")

    @property
    def cart(self) -> str:
        """Whose cart it is: the customer's, or before the log-in the session's."""
        return self.customer or self.session

    def log_in(self, customer: str) -> None:
        before = self.cart
        self.known = {**self.known, "customerId": customer}
        SESSIONS.put(self.session, self.known)
        self.cookies.append(("set-cookie", f"logged_in={self.session}; Path=/; SameSite=Lax"))
        self.ask("carts", f"/carts/{customer}/merge?sessionId={before}")

    def ask(self, service: str, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """As the visitor: with the headers of the request. Raises Refused if the service fails."""
        status, found = ask(f"http://{address(service)}{path}", self.request.headers, method, body)
        if status >= 500:
            raise Refused(status, f"{service} answers {status}")
        return status, found


class Refused(Exception):
    """What cannot be done: status, text."""


def who(visit: Visit) -> str:
    if not visit.customer:
        raise Refused(401, "User not logged in.")
    return visit.customer


def catalogue(request: Request) -> Response:
    """As it is, whatever the catalogue says: faults in a mesh are to be seen."""
    url = f"http://{address('catalogue')}{request.target}"
    status, body = call(url, forward(request.headers), CATALOGUE_LIMIT_S)
    kind = "image/svg+xml" if request.path.endswith(".svg") and status == 200 else "application/json"
    with contextlib.suppress(ValueError):
        if kind == "application/json":
            json.loads(body)
            return Response(body, status, kind)
    return Response(body, status, kind if kind != "application/json" else "text/plain")


def item(visit: Visit) -> dict[str, Any]:
    """The wanted item of a request, with its price from the catalogue."""
    given = fields(visit.request)
    if not given.get("id"):
        raise Refused(400, "Must pass id of item to add")
    status, sock = visit.ask("catalogue", f"/catalogue/{urllib.parse.quote(str(given['id']))}")
    if status != 200:
        raise Refused(status, "no such sock")
    return {"itemId": sock["id"], "unitPrice": sock["price"], "quantity": int(given.get("quantity") or 1)}


def cart(visit: Visit, rest: list[str]) -> Response:
    method, where = visit.request.method, f"/carts/{visit.cart}"
    if method == "GET" and not rest:
        return as_json(visit.ask("carts", f"{where}/items")[1])
    if method == "DELETE":
        path = f"{where}/items/{urllib.parse.quote(rest[0])}" if rest else where
        return Response("", visit.ask("carts", path, "DELETE")[0])
    if method == "POST" and not rest:
        status, _ = visit.ask("carts", f"{where}/items", "POST", item(visit))
        return Response("", status)
    if method == "POST" and rest == ["update"]:
        visit.ask("carts", f"{where}/items", "PATCH", item(visit))
        return Response("", 202)
    return missing()


def orders(visit: Visit, rest: list[str]) -> Response:
    customer = who(visit)
    if visit.request.method == "GET":
        if rest:
            status, found = visit.ask("orders", f"/orders/{urllib.parse.quote(rest[0])}")
            if status == 200 and found["customerId"] != customer:
                return missing()
            return as_json(found, status)
        _, found = visit.ask("orders", f"/orders/search/customerId?sort=date&custId={customer}")
        return as_json(found["_embedded"]["customerOrders"])
    user = f"http://{address('user')}"
    wanted = {"customer": f"{user}/customers/{customer}", "items": f"http://{address('carts')}/carts/{customer}/items"}
    for one, many in (("address", "addresses"), ("card", "cards")):
        _, found = visit.ask("user", f"/customers/{customer}/{many}")
        known = found["_embedded"][one]
        if not known:
            raise Refused(406, f"An order needs {'an' if one == 'address' else 'a'} {one}.")
        wanted[one] = f"{user}/{many}/{known[-1]['id']}"
    status, made = visit.ask("orders", "/orders", "POST", wanted)
    return as_json(made, status)


def account(visit: Visit, one: str, many: str, rest: list[str]) -> Response:
    """Addresses or cards of the customer: the last one, a new one, or one less."""
    customer = who(visit)
    request = visit.request
    if request.method == "POST":
        status, made = visit.ask("user", f"/{many}", "POST", {**fields(request), "userID": customer})
        return as_json(made, status)
    _, found = visit.ask("user", f"/customers/{customer}/{many}")
    known = found["_embedded"][one]
    if request.path.strip("/").split("/")[0] == many and not rest:
        return as_json(known)
    if rest:
        chosen = [k for k in known if k["id"] == rest[0]]
        if not chosen:
            return missing()
        if request.method == "DELETE":
            status, done = visit.ask("user", f"/{many}/{chosen[0]['id']}", "DELETE")
            return as_json(done, status)
        return as_json(chosen[0])
    if not known:
        return as_json({"status_code": 500})
    return as_json({"number": known[-1]["longNum"][-4:]} if one == "card" else known[-1])


def login(visit: Visit) -> Response:
    status, found = visit.ask("user", "/login")
    if status != 200:
        return Response("", 401)
    visit.log_in(found["user"]["id"])
    return Response("Cookie is set")


def register(visit: Visit) -> Response:
    status, found = ask(f"http://{address('user')}/register", visit.request.headers, "POST", fields(visit.request))
    if status != 200:
        return as_json(found, status)
    visit.log_in(found["id"])
    return as_json(found)


def logout(visit: Visit) -> Response:
    SESSIONS.put(visit.session, {"since": VERSION})
    visit.cookies.append(("set-cookie", "logged_in=; Path=/; Max-Age=0"))
    return Response("")


def customers(visit: Visit, rest: list[str]) -> Response:
    customer = who(visit)
    if rest and rest[0] != customer:
        return missing()
    return as_json(visit.ask("user", f"/customers/{customer}")[1])


Path = Callable[[Visit, list[str]], Response]
PATHS: dict[str, Path] = {
    "cart": cart,
    "orders": orders,
    "customers": customers,
    "addresses": lambda v, rest: account(v, "address", "addresses", rest),
    "address": lambda v, rest: account(v, "address", "addresses", rest),
    "cards": lambda v, rest: account(v, "card", "cards", rest),
    "card": lambda v, rest: account(v, "card", "cards", rest),
    "login": lambda v, _: login(v),
    "register": lambda v, _: register(v),
    "logout": lambda v, _: logout(v),
}


def metrics() -> Response:
    with LOCK:
        rows = sorted(COUNTS.items())
    lines = ["# TYPE request_duration_seconds_count counter"]
    lines += [f'request_duration_seconds_count{{service="front-end",method="{m}",route="{r}",status_code="{s}"}} {n}' for (m, r, s), n in rows]  # fmt: skip
    return Response("\n".join(lines) + "\n", kind="text/plain; version=0.0.4")


def answer(request: Request, head: str, rest: list[str]) -> Response:
    if not head or head.endswith(".html"):
        return sock_shop_pages.page(head or "index.html", VERSION, POD)
    if head in ("catalogue", "tags"):
        return catalogue(request)
    if head == "metrics":
        return metrics()
    if head not in PATHS:
        return missing()
    visit = Visit(request)
    made = PATHS[head](visit, rest)
    made.fields += visit.cookies
    return made


def page(request: Request) -> Response:
    head, *rest = [urllib.parse.unquote(p) for p in request.path.strip("/").split("/")]
    try:
        made = answer(request, head, rest)
    except Refused as refused:
        status, text = refused.args
        made = as_json({"error": text, "status_code": status}, status)
    except ValueError as error:
        made = missing(str(error), 400)
    except (OSError, http.client.HTTPException) as error:
        made = missing(f"a service of the shop cannot be had: {error}", 500)
    made.fields += [("x-front-end", VERSION), ("cache-control", "no-store")]
    with LOCK:
        key = (request.method, head or "/", made.status)
        COUNTS[key] = COUNTS.get(key, 0) + 1
    if not request.headers.get("user-agent", "").startswith("kube-probe/"):
        print(f"{request.method} {request.target} {made.status}", flush=True)
    return made


if __name__ == "__main__":
    serve(page, port(8079))
