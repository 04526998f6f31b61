"""Sock Shop orders: takes addresses of a customer, an address, a card and items; fetches, charges, ships, keeps. Argument: port."""

from __future__ import annotations

import datetime as dt
import http.client
import os
import sys
import urllib.parse
import uuid
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sock_shop import address, ask, fields, health, missing, port
from store import Store
from web import Request, Response, as_json, serve

STORE = Store(address("orders-db", 27017))
PARTS = ("customer", "address", "card", "items")
POSTAGE = 4.99
POOL = ThreadPoolExecutor(16)


class Refused(Exception):
    """An order that cannot be taken: status, text."""


def fetched(url: str, headers: Message) -> Any:
    status, found = ask(url, headers)
    if status != 200:
        raise Refused(500, f"{url} answers {status}")
    return found


def order(request: Request) -> Response:
    given = fields(request)
    if not all(str(given.get(p, "")).startswith("http://") for p in PARTS):
        raise Refused(406, "Invalid order request. Order requires customer, address, card and items.")
    parts = dict(zip(PARTS, POOL.map(lambda p: fetched(given[p], request.headers), PARTS), strict=True))
    bare = {k: v for k, v in parts["customer"].items() if k != "_links"}
    goods = sum(i["quantity"] * i["unitPrice"] for i in parts["items"])
    total = round(goods + POSTAGE, 2)
    asked = {"address": parts["address"], "card": parts["card"], "customer": bare, "amount": total}
    status, answer = ask(f"http://{address('payment')}/paymentAuth", request.headers, "POST", asked)
    if status != 200:
        raise Refused(406, f"payment answers {status}")
    if not answer["authorised"]:
        raise Refused(406, answer["message"])
    ident = uuid.uuid4().hex[:24]
    parcel = {"id": ident, "name": parts["customer"]["id"]}
    status, shipment = ask(f"http://{address('shipping')}/shipping", request.headers, "POST", parcel)
    if status >= 300:
        raise Refused(500, f"shipping answers {status}")
    kept = {
        "id": ident,
        "customerId": parts["customer"]["id"],
        "customer": bare,
        "address": parts["address"],
        "card": parts["card"],
        "items": parts["items"],
        "shipment": shipment,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        "total": total,
    }
    STORE.ask("put", table="orders", id=ident, value=kept)
    return as_json(kept, 201)


def listed(where: dict[str, str], form: dict[str, str]) -> Response:
    found = STORE.ask("find", table="orders", where=where)
    key, _, way = form.get("sort", "").partition(",")
    if key in ("date", "total"):
        found.sort(key=lambda o: o[key], reverse=way == "desc")
    size = max(1, int(form.get("size") or 20))
    page = {"size": size, "totalElements": len(found), "totalPages": -(-len(found) // size), "number": 0}
    return as_json({"_embedded": {"customerOrders": found[:size]}, "page": page})


def page(request: Request) -> Response:
    form = {k: v[-1] for k, v in urllib.parse.parse_qs(request.query).items()}
    parts = request.path.strip("/").split("/")
    try:
        if request.path == "/health":
            return health("orders", STORE)
        if request.path in ("/metrics", "/prometheus"):
            return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
        if parts == ["orders"]:
            return order(request) if request.method == "POST" else listed({}, form)
        if parts == ["orders", "search", "customerId"]:
            return listed({"customerId": form.get("custId", "")}, form)
        if parts[0] == "orders" and len(parts) == 2:
            found = STORE.ask("get", table="orders", id=parts[1])
            return missing() if found is None else as_json(found)
    except Refused as refused:
        status, text = refused.args
        return as_json({"status": status, "error": http.client.responses[status], "message": text}, status)
    except (OSError, http.client.HTTPException) as error:
        text = f"a service of the shop cannot be had: {error}"
        return as_json({"status": 500, "error": "Internal Server Error", "message": text}, 500)
    except ValueError as error:
        return missing(str(error), 400)
    return missing()


if __name__ == "__main__":
    serve(page, port())
