"""Hello world with its version and pod. Argument: port."""

from __future__ import annotations

import math
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, serve


def page(request: Request) -> Response:
    if request.path == "/health":
        return Response("Helloworld is healthy")
    if request.path == "/hello":
        for number in range(100_000):  # some work, so that load is visible
            math.sqrt(number)
        return Response(
            f"Hello version: {os.environ.get('SERVICE_VERSION', 'v1')}, instance: {os.environ.get('HOSTNAME', '')}\n"
        )
    return Response("not found\n", 404)


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
