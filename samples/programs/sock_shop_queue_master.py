"""Sock Shop queue master: takes shipments off the queue and says so in its log. Argument: port."""

from __future__ import annotations

import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sock_shop import address, health, missing, port
from store import Store
from web import Request, Response, serve

QUEUE = Store(address("rabbitmq", 5672), limit=30.0)
SHIPPED = [0]


def work() -> None:
    while True:
        try:
            shipment = QUEUE.ask("pop", queue="shipping-task", wait=10)
        except (OSError, ValueError):
            time.sleep(1)  # the queue may not run yet
            continue
        if shipment is not None:
            SHIPPED[0] += 1
            print(f"received shipment {shipment['id']} for {shipment['name']}", flush=True)


def page(request: Request) -> Response:
    if request.path == "/health":
        return health("queue-master")
    if request.path in ("/metrics", "/prometheus"):
        text = f"# TYPE shipments_total counter\nshipments_total {SHIPPED[0]}\n"
        return Response(text, kind="text/plain; version=0.0.4")
    return missing() if request.path != "/" else Response("queue master\n")


if __name__ == "__main__":
    threading.Thread(target=work, daemon=True).start()
    serve(page, port())
