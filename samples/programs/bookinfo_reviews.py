"""Bookinfo reviews: two reviews, with stars in versions 2 (black) and 3 (red). Argument: port."""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, call, forward, serve

RATINGS = os.environ.get("ENABLE_RATINGS", "false").lower() == "true"
COLOR = os.environ.get("STAR_COLOR", "black")
DOMAIN = "." + os.environ["SERVICES_DOMAIN"] if os.environ.get("SERVICES_DOMAIN") else ""
HOST = os.environ.get("RATINGS_HOSTNAME", "ratings")
PORT = os.environ.get("RATINGS_SERVICE_PORT", "9080")
TEXTS = (
    "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
)


def stars(product: str, request: Request) -> dict[str, int] | None:
    """Stars by reviewer; None if ratings cannot be had. The black version is patient, the red one is not."""
    limit = 10.0 if COLOR == "black" else 2.5
    try:
        status, body = call(f"http://{HOST}{DOMAIN}:{PORT}/ratings/{product}", forward(request.headers), limit)
        found = json.loads(body)["ratings"] if status == 200 else None
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        print(f"ratings: {error!r}", file=sys.stderr, flush=True)
        return None
    return {str(k): int(v) for k, v in found.items()} if isinstance(found, dict) else None


def page(request: Request) -> Response:
    if request.path == "/health":
        return as_json({"status": "Reviews is healthy"})
    if not request.path.startswith("/reviews/"):
        return as_json({"error": "not found"}, 404)
    product = request.path.rsplit("/", 1)[1]
    if not product.isdigit():
        return as_json({"error": "please provide numeric product ID"}, 400)
    found = stars(product, request) if RATINGS else None
    reviews: list[dict[str, Any]] = []
    for number, text in enumerate(TEXTS, 1):
        review: dict[str, Any] = {"reviewer": f"Reviewer{number}", "text": text}
        if RATINGS:
            value = (found or {}).get(f"Reviewer{number}")
            review["rating"] = (
                {"stars": value, "color": COLOR}
                if value is not None
                else {"error": "Ratings service is currently unavailable"}
            )
        reviews.append(review)
    pod, cluster = os.environ.get("HOSTNAME", ""), os.environ.get("CLUSTER_NAME")
    return as_json({"id": product, "podname": pod, "clustername": cluster, "reviews": reviews})


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 9080)
