"""Bookinfo ratings: stars by reviewer, kept in memory. Argument: port. SERVICE_VERSION chooses the misbehaving variants.

v2 reads two ratings from the database that DB_TYPE=mysql with MYSQL_DB_HOST and MYSQL_DB_PORT, or MONGO_DB_URL, names (one of our
own, see `database.py`), and takes no POST. Without such a variable its answers come from memory.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from store import Store
from web import Request, Response, as_json, serve

VERSION = os.environ.get("SERVICE_VERSION", "v1")
STARTED = time.monotonic()


def database() -> Store | None:
    """What v2 reads from, if the environment says so."""
    if os.environ.get("DB_TYPE") == "mysql":
        host = os.environ.get("MYSQL_DB_HOST", "mysqldb")
        return Store(f"{host}:{os.environ.get('MYSQL_DB_PORT', '3306')}", greets=True)
    found = re.search(r"//(?:[^@/]*@)?([^/?,]+)", os.environ.get("MONGO_DB_URL", ""))
    if found is None:
        return None
    return Store(found[1] if ":" in found[1] else f"{found[1]}:27017")


DATABASE = database() if VERSION.startswith("v2") else None
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
    if DATABASE is not None:
        try:
            rows = DATABASE.ask("find", table="ratings")
        except (OSError, ValueError) as error:
            return as_json({"error": f"could not connect to ratings database: {error}"}, 500)
        return as_json({"id": product, "ratings": {f"Reviewer{n}": row["rating"] for n, row in enumerate(rows, 1)}})
    if VERSION == "v-faulty" and random.random() < 0.5:
        return as_json({"error": "Service unavailable"}, 503)
    if VERSION == "v-delayed" and random.random() < 0.5:
        time.sleep(7)
    if VERSION == "v-unavailable" and int((time.monotonic() - STARTED) / 60) % 2:
        return as_json({"error": "Service unavailable"}, 503)
    return as_json({"id": product, "ratings": STORE.get(product, DEFAULT)})


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 9080)
