"""Sock Shop carts: what each customer, or each session before its log-in, wants to buy. Argument: port. Kept in carts-db."""

from __future__ import annotations

import os
import sys
import threading
import urllib.parse
import uuid
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sock_shop import address, fields, health, missing, port
from store import Store
from web import Request, Response, as_json, serve

STORE = Store(address("carts-db", 27017))
LOCK = threading.Lock()  # a cart is read, changed and written as a whole


def cart(customer: str) -> dict[str, Any]:
    found: dict[str, Any] | None = STORE.ask("get", table="carts", id=customer)
    return found or {"id": uuid.uuid4().hex[:24], "customerId": customer, "items": []}


def keep(changed: dict[str, Any]) -> None:
    STORE.ask("put", table="carts", id=changed["customerId"], value=changed)


def item_of(given: dict[str, Any]) -> dict[str, Any]:
    """An item from a request. Raises ValueError or TypeError if it makes no sense."""
    if not given.get("itemId"):
        raise ValueError("itemId is missing")
    return {
        "id": uuid.uuid4().hex[:24],
        "itemId": str(given["itemId"]),
        "quantity": max(1, int(given.get("quantity") or 1)),
        "unitPrice": float(given.get("unitPrice") or 0),
    }


def items(request: Request, customer: str, ident: str) -> Response:
    with LOCK:
        found = cart(customer)
        known = {i["itemId"]: i for i in found["items"]}
        if request.method == "GET":
            if not ident:
                return as_json(found["items"])
            return as_json(known[ident]) if ident in known else missing()
        if request.method == "DELETE":
            found["items"] = [i for i in found["items"] if i["itemId"] != ident]
            keep(found)
            return Response("", 202)
        if request.method not in ("POST", "PATCH"):
            return missing("method not allowed", 405)
        item = item_of(fields(request))
        before = known.get(item["itemId"])
        if before is not None:
            count = item["quantity"] + (before["quantity"] if request.method == "POST" else 0)
            before.update(quantity=count, unitPrice=item["unitPrice"] or before["unitPrice"])
            item = before
        else:
            found["items"].append(item)
        keep(found)
        return as_json(item, 201 if request.method == "POST" else 200)


def merge(customer: str, session: str) -> Response:
    """The cart of a session goes into that of the customer who has logged in."""
    with LOCK:
        ours, theirs = cart(customer), cart(session)
        known = {i["itemId"]: i for i in ours["items"]}
        for item in theirs["items"]:
            if item["itemId"] in known:
                known[item["itemId"]]["quantity"] += item["quantity"]
            else:
                ours["items"].append(item)
        keep(ours)
        if session != customer:
            STORE.ask("delete", table="carts", id=session)
    return Response("", 202)


def page(request: Request) -> Response:
    if request.path == "/health":
        return health("carts", STORE)
    if request.path in ("/metrics", "/prometheus"):
        return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
    head, *rest = [urllib.parse.unquote(p) for p in request.path.strip("/").split("/")]
    if head != "carts" or not rest:
        return missing()
    customer, *more = rest
    try:
        if more == ["merge"]:
            session = urllib.parse.parse_qs(request.query).get("sessionId", [""])[0]
            return merge(customer, session) if session else missing("sessionId is missing", 400)
        if more[:1] == ["items"] and len(more) <= 2:
            return items(request, customer, more[1] if len(more) == 2 else "")
        if more:
            return missing()
        with LOCK:
            if request.method == "DELETE":
                STORE.ask("delete", table="carts", id=customer)
                return Response("", 202)
            found = cart(customer)
            keep(found)
        return as_json(found)
    except (ValueError, TypeError) as error:
        return missing(str(error), 400)


if __name__ == "__main__":
    serve(page, port())
