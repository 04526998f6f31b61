"""In RabbitMQ's place in the Sock Shop: queues on 5672 as `database` speaks them, a page on 15672. Arguments: both ports."""

from __future__ import annotations

import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from database import Data, server
from web import Request, Response, as_json, serve

DATA = Data()


def page(request: Request) -> Response:
    if request.path == "/api/queues":
        depths = DATA.answer({"op": "depths"})
        return as_json([{"name": name, "vhost": "/", "messages": count} for name, count in sorted(depths.items())])
    return Response("queues in memory; /api/queues lists them\n")


if __name__ == "__main__":
    ports = [int(a) for a in sys.argv[1:]] or [5672]
    threading.Thread(target=server(ports[0], DATA).serve_forever, daemon=True).start()
    serve(page, ports[1] if len(ports) > 1 else 15672)
