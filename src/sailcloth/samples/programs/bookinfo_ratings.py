"""Bookinfo ratings: stars by reviewer, kept in memory. Argument: port. SERVICE_VERSION chooses the misbehaving variants.

v2 reads from a database elsewhere; here its answers come from memory too, and like there it takes no POST.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, serve

VERSION = os.environ.get("SERVICE_VERSION", "v1")
STARTED = time.monotonic()
STORE: dict[int, dict[str, int]] = {}
DEFAULT = {"Reviewer1": 5, "Reviewer2": 4}


def page(request: Request) -> Response:
    if request.path == "/health":
        if VERSION == "v-unhealthy" and int((time.monotonic() - STARTED) / 900) % 2:
            return as_json({"status": "Ratings is not healthy"}, 500)
        return as_json({"status": "Ratings is healthy"})
    if not request.path.startswith("/ratings/"):
        return as_json({"error": "not found"}, 404)
    ident = request.path.rsplit("/", 1)[1]
    if not ident.isdigit():
        return as_json({"error": "please provide numeric product ID"}, 400)
    product = int(ident)
    if request.method == "POST":
        if VERSION.startswith("v2"):
            return as_json({"error": "Post not implemented for database backed ratings"}, 501)
        try:
            given = {str(k): int(v) for k, v in json.loads(request.body).items()}
        except (ValueError, AttributeError):
            return as_json({"error": "please provide valid ratings JSON"}, 400)
        STORE[product] = given
        return as_json({"id": product, "ratings": given})
    if VERSION == "v-faulty" and random.random() < 0.5:
        return as_json({"error": "Service unavailable"}, 503)
    if VERSION == "v-delayed" and random.random() < 0.5:
        time.sleep(7)
    if VERSION == "v-unavailable" and int((time.monotonic() - STARTED) / 60) % 2:
        return as_json({"error": "Service unavailable"}, 503)
    return as_json({"id": product, "ratings": STORE.get(product, DEFAULT)})


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 9080)
