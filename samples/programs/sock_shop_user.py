"""Sock Shop user: customers, their addresses and cards, log-in. Argument: `-port=N`. Kept in user-db (`mongo=host:port`)."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import sys
import urllib.parse
import uuid
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import database_seeds
from sock_shop import address, fields, health, missing, port
from store import Store
from web import Request, Response, as_json, serve

STORE = Store(os.environ.get("mongo") or address("user-db", 27017))  # noqa: SIM112 - the manifest writes it small
DOMAIN = "http://user"
ONE = {"customers": "customer", "addresses": "address", "cards": "card"}
SHOWN = {
    "customers": ("firstName", "lastName", "username", "id"),
    "addresses": ("street", "number", "country", "city", "postcode", "id"),
    "cards": ("longNum", "expires", "ccv", "id"),
}


def shown(table: str, found: dict[str, Any]) -> dict[str, Any]:
    """A document with its links, as hypertext application language has them."""
    here = f"{DOMAIN}/{table}/{found['id']}"
    links = {"self": here, ONE[table]: here}
    if table == "customers":
        links |= {"addresses": f"{here}/addresses", "cards": f"{here}/cards"}
    out = {name: found.get(name, "") for name in SHOWN[table]}
    return {**out, "_links": {name: {"href": href} for name, href in links.items()}}


def embedded(table: str, found: list[dict[str, Any]]) -> Response:
    return as_json({"_embedded": {ONE[table]: [shown(table, f) for f in found]}})


def login(request: Request) -> Response:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(given).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = password = ""
    found = STORE.ask("find", table="customers", where={"username": name}) if scheme.lower() == "basic" else []
    for known in found:
        if hmac.compare_digest(known["digest"], database_seeds.digest(known["id"], password)):
            return as_json({"user": shown("customers", known)})
    return missing("Unauthorized", 401)


def register(given: dict[str, Any]) -> Response:
    name, password = str(given.get("username") or ""), str(given.get("password") or "")
    if not name or not password:
        return missing("username and password are needed", 400)
    if STORE.ask("find", table="customers", where={"username": name}):
        return missing(f"the name {name} is taken", 500)
    ident = uuid.uuid4().hex[:24]
    first, last, email = (str(given.get(k) or "") for k in ("firstName", "lastName", "email"))
    STORE.ask(
        "put", table="customers", id=ident, value=database_seeds.customer(ident, name, password, first, last, email)
    )
    return as_json({"id": ident})


def add(table: str, given: dict[str, Any]) -> Response:
    owner = str(given.get("userID") or "")
    if owner and STORE.ask("get", table="customers", id=owner) is None:
        return missing("no such customer")
    ident = uuid.uuid4().hex[:24]
    kept = {name: str(given.get(name) or "") for name in SHOWN[table]}
    STORE.ask("put", table=table, id=ident, value={**kept, "id": ident, "userID": owner})
    return as_json({"id": ident})


def resource(request: Request, table: str, rest: list[str]) -> Response:
    if not rest:
        if request.method == "POST":
            given = fields(request)
            return register(given) if table == "customers" else add(table, given)
        return embedded(table, STORE.ask("find", table=table))
    found = STORE.ask("get", table=table, id=rest[0])
    if found is None:
        return missing()
    if len(rest) == 1:
        if request.method == "DELETE":
            for owned in ("addresses", "cards") if table == "customers" else ():
                for each in STORE.ask("find", table=owned, where={"userID": rest[0]}):
                    STORE.ask("delete", table=owned, id=each["id"])
            return as_json({"status": STORE.ask("delete", table=table, id=rest[0])})
        return as_json(shown(table, found))
    if table == "customers" and len(rest) == 2 and rest[1] in ("addresses", "cards"):
        return embedded(rest[1], STORE.ask("find", table=rest[1], where={"userID": rest[0]}))
    return missing()


def page(request: Request) -> Response:
    head, *rest = [urllib.parse.unquote(p) for p in request.path.strip("/").split("/")]
    try:
        if head == "health":
            return health("user", STORE)
        if head == "metrics":
            return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
        if head == "login":
            return login(request)
        if head == "register" and request.method == "POST":
            return register(fields(request))
        if head in ONE:
            return resource(request, head, rest)
    except ValueError as error:
        return missing(str(error), 400)
    return missing()


if __name__ == "__main__":
    serve(page, port())
