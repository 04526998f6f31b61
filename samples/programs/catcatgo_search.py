"""CatCatGo's back end: /api/v1.0/search/KIND gives pictures of a kind, /api/v1.0/pictures/ID one of them. Argument: port.

Kept in the database at MONGO_DB_URL (host:port), which the crawler fills.
"""

from __future__ import annotations

import base64
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from store import Store
from web import Request, Response, as_json, serve

STORE = Store(os.environ.get("MONGO_DB_URL", "mongo:27017").removeprefix("mongodb://"))
SEARCH = re.compile(r"/api/v1\.0/search/(?P<kind>[a-z]{1,32})")
PICTURE = re.compile(r"/api/v1\.0/pictures/(?P<id>[a-z0-9-]{1,64})")


def page(request: Request) -> Response:
    if request.path == "/health":
        return as_json({"status": "healthy"})
    try:
        if found := SEARCH.fullmatch(request.path):
            pictures = STORE.ask("find", table="pictures", where={"kind": found["kind"]})
            listed = [{"id": p["id"], "name": p["name"], "url": f"/pictures/{p['id']}"} for p in pictures]
            return as_json({"kind": found["kind"], "results": sorted(listed, key=lambda p: str(p["id"]))})
        if found := PICTURE.fullmatch(request.path):
            one = STORE.ask("get", table="pictures", id=found["id"])
            if one is None:
                return as_json({"error": f"no picture {found['id']}"}, 404)
            return Response(base64.b64decode(one["picture"]), kind=one["type"])
    except OSError as error:
        return as_json({"error": f"the store does not answer: {error}"}, 503)
    return as_json({"error": "search at /api/v1.0/search/kitten"}, 404)


if __name__ == "__main__":
    serve(page, int(sys.argv[1]))
