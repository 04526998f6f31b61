"""Sock Shop shipping: takes a shipment and puts it on the queue of RabbitMQ's place. Argument: port."""

from __future__ import annotations

import os
import sys
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sock_shop import address, fields, health, missing, port
from store import Store
from web import Request, Response, as_json, serve

QUEUE = Store(address("rabbitmq", 5672))


def page(request: Request) -> Response:
    if request.path == "/health":
        return health("shipping")
    if request.path in ("/metrics", "/prometheus"):
        return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
    if request.path != "/shipping":
        return missing()
    if request.method != "POST":
        return Response("GET ALL Shipping Resource.")
    try:
        given = fields(request)
    except ValueError as error:
        return missing(str(error), 400)
    shipment = {"id": str(given.get("id") or uuid.uuid4()), "name": str(given.get("name") or "")}
    try:
        QUEUE.ask("push", queue="shipping-task", value=shipment)
    except (OSError, ValueError) as error:  # like the original, an order does not fail for want of a queue
        print(f"shipping-task: {error}", file=sys.stderr, flush=True)
    return as_json(shipment, 201)


if __name__ == "__main__":
    serve(page, port())
