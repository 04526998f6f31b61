"""Answers every path with 200, /metrics with a metric: for health samples, and in the place of exporters. Argument: port."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, serve


def page(request: Request) -> Response:
    if request.path == "/metrics":
        return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
    return Response("ok\n")


if __name__ == "__main__":
    serve(page, int(sys.argv[1]))
