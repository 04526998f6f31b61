"""Bookinfo details: facts about a book. Argument: port."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, serve

BOOK = {
    "author": "William Shakespeare",
    "year": 1595,
    "type": "paperback",
    "pages": 200,
    "publisher": "PublisherA",
    "language": "English",
    "ISBN-10": "1234567890",
    "ISBN-13": "123-1234567890",
}


def page(request: Request) -> Response:
    if request.path == "/health":
        return as_json({"status": "Details is healthy"})
    if request.path.startswith("/details/"):
        ident = request.path.rsplit("/", 1)[1]
        if not ident.isdigit():
            return as_json({"error": "please provide numeric product id"}, 400)
        return as_json({"id": int(ident), **BOOK})
    return as_json({"error": "not found"}, 404)


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 9080)
