"""Bookinfo product page: puts details and reviews on one page. Argument: port."""

from __future__ import annotations

import hashlib
import hmac
import html
import http.client
import json
import os
import sys
import threading
import urllib.parse
from http.cookies import SimpleCookie
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Request, Response, as_json, call, forward, serve

DOMAIN = "." + os.environ["SERVICES_DOMAIN"] if os.environ.get("SERVICES_DOMAIN") else ""
PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": "A farce of two pairs of identical twins, separated at birth, who meet by accident in Ephesus: "
    "mistaken identities lead to wrongful beatings, an arrest, and accusations of theft, madness and worse.",
}
SECRET = os.environ.get("FLASK_SECRET_KEY", "bookinfo").encode()
COUNTS: dict[tuple[str, str], int] = {}
LOCK = threading.Lock()
FLOOD = int(os.environ.get("FLOOD_FACTOR") or 0)  # further requests for reviews with each page, to show rate limits


def address(name: str) -> str:
    host = os.environ.get(f"{name.upper()}_HOSTNAME", name)
    return f"http://{host}{DOMAIN}:{os.environ.get(f'{name.upper()}_SERVICE_PORT', '9080')}"


def fetch(name: str, path: str, headers: dict[str, str], tries: int = 1) -> tuple[int, Any]:
    """(status, decoded answer); status 500 with an apology if the service cannot be had."""
    text = f"Sorry, product {name} are currently unavailable for this book."
    status = 500
    for _ in range(tries):
        try:
            status, body = call(address(name) + path, headers, 3.0)
            if status == 200:
                count(name, status)
                return status, json.loads(body)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{name}: {error!r}", file=sys.stderr, flush=True)
            status = 500
    count(name, status)
    return status, {"error": text}


def count(name: str, status: int) -> None:
    with LOCK:
        COUNTS[name, str(status)] = COUNTS.get((name, str(status)), 0) + 1


def sign(user: str) -> str:
    return user + "." + hmac.new(SECRET, user.encode(), hashlib.sha256).hexdigest()[:32]


def user_of(request: Request) -> str:
    morsel = SimpleCookie(request.headers.get("cookie", "")).get("session")
    user = urllib.parse.unquote(morsel.value).rpartition(".")[0] if morsel else ""
    return user if morsel and user and hmac.compare_digest(sign(user), urllib.parse.unquote(morsel.value)) else ""


def carried(request: Request) -> dict[str, str]:
    headers = forward(request.headers)
    user = user_of(request)
    if user:
        headers["end-user"] = user
    return headers


STYLE = """
:root{color-scheme:light dark}body{margin:0;font:16px/1.5 system-ui,sans-serif;background:#f6f7f9;color:#1b1f24}
header{background:#12344d;color:#fff;padding:.8rem 2rem;display:flex;justify-content:space-between;align-items:center}
header form{margin:0;display:flex;gap:.5rem}header a{color:#fff}input,button{font:inherit;padding:.25rem .6rem;border-radius:6px;border:0}
main{max-width:62rem;margin:0 auto;padding:1.5rem 2rem}h1{font-size:2.2rem;margin:.5rem 0}.summary{color:#4b5563}
.columns{display:grid;grid-template-columns:1fr 1.4fr;gap:2rem;margin-top:1.5rem}
section{background:#fff;border-radius:12px;padding:1.2rem 1.5rem;box-shadow:0 1px 3px #0002}dl{display:grid;grid-template-columns:auto 1fr;gap:.3rem 1rem}
dt{color:#6b7280}dd{margin:0}blockquote{margin:1rem 0;padding:.2rem 0 .2rem 1rem;border-left:4px solid #d1d5db}small{color:#6b7280}
.glyphicon-star::before{content:"\\2605"}.glyphicon-star-empty::before{content:"\\2606"}.error{color:#b42318}.pod{color:#9ca3af;font-size:.85rem}
@media(prefers-color-scheme:dark){body{background:#0f1419;color:#e6e8eb}section{background:#1a2129}}
@media(max-width:50rem){.columns{grid-template-columns:1fr}}
"""


def stars(rating: dict[str, Any]) -> str:
    if "stars" not in rating:
        return f'<p class="error">{html.escape(str(rating.get("error", "")))}</p>'
    full = int(rating["stars"])
    marks = '<span class="glyphicon glyphicon-star"></span>' * full
    marks += '<span class="glyphicon glyphicon-star-empty"></span>' * (5 - full)
    return f'<font color="{html.escape(str(rating.get("color", "black")))}">{marks}</font>'


def product_page(request: Request) -> Response:
    headers = carried(request)
    for _ in range(FLOOD):
        threading.Thread(target=fetch, args=("reviews", "/reviews/0", headers), daemon=True).start()
    details_status, details = fetch("details", "/details/0", headers)
    reviews_status, reviews = fetch("reviews", "/reviews/0", headers, tries=2)
    user = user_of(request)
    if user:
        login = f"<span>{html.escape(user)} (<a href='/logout'>sign out</a>)</span>"
    else:
        login = (
            "<form method='post' action='/login'><input name='username' placeholder='User name' aria-label='User name'>"
            "<input name='passwd' type='password' placeholder='Password' aria-label='Password'><button>Sign in</button></form>"
        )
    if details_status == 200:
        labels = (
            ("Type", "type"),
            ("Pages", "pages"),
            ("Publisher", "publisher"),
            ("Language", "language"),
            ("ISBN-10", "ISBN-10"),
            ("ISBN-13", "ISBN-13"),
        )
        left = (
            "<dl>"
            + "".join(f"<dt>{n}:</dt><dd>{html.escape(str(details.get(k, '')))}</dd>" for n, k in labels)
            + "</dl>"
        )
    else:
        left = f"<h3>Error fetching product details!</h3><p class='error'>{details['error']}</p>"
    if reviews_status == 200:
        right = "".join(
            f"<blockquote><p>{html.escape(r['text'])}</p><small>{html.escape(r['reviewer'])}</small>"
            + (f"<div>{stars(r['rating'])}</div>" if r.get("rating") else "")
            + "</blockquote>"
            for r in reviews["reviews"]
        )
        right += f"<p class='pod'>Reviews served by: <code>{html.escape(str(reviews.get('podname', '')))}</code></p>"
    else:
        right = f"<h3>Error fetching product reviews!</h3><p class='error'>{reviews['error']}</p>"
    text = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Simple Bookstore App</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head><body>"
        f"<header><strong>BookInfo Sample</strong>{login}</header><main><h1>{PRODUCT['title']}</h1>"
        f"<p class='summary'>Summary: {PRODUCT['descriptionHtml']}</p><div class='columns'>"
        f"<section><h2>Book Details</h2>{left}</section><section><h2>Book Reviews</h2>{right}</section></div></main></body></html>"
    )
    return Response(text, kind="text/html; charset=utf-8")


def page(request: Request) -> Response:
    path = request.path
    if path in ("/", "/index.html"):
        text = (
            f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Simple Bookstore App</title><style>{STYLE}</style></head>"
            "<body><header><strong>BookInfo Sample</strong></header><main><h1>Hello! This is a simple bookstore application</h1>"
            "<p><a href='/productpage'>Normal user</a> · <a href='/productpage?u=test'>Test user</a></p></main></body></html>"
        )
        return Response(text, kind="text/html; charset=utf-8")
    if path == "/health":
        return Response("Product page is healthy")
    if path == "/productpage":
        return product_page(request)
    if path == "/login" and request.method == "POST":
        user = urllib.parse.parse_qs(request.body.decode()).get("username", [""])[0]
        cookie = f"session={urllib.parse.quote(sign(user))}; Path=/; HttpOnly; SameSite=Lax"
        return Response("", 302, location="/productpage", set_cookie=cookie)
    if path == "/logout":
        return Response("", 302, location="/productpage", set_cookie="session=; Path=/; Max-Age=0")
    if path == "/metrics":
        lines = ["# TYPE request_result_total counter"]
        lines += [
            f'request_result_total{{destination_app="{n}",response_code="{c}"}} {v}'
            for (n, c), v in sorted(COUNTS.items())
        ]
        return Response("\n".join(lines) + "\n", kind="text/plain; version=0.0.4")
    return api(request)


def api(request: Request) -> Response:
    parts = request.path.strip("/").split("/")
    if parts[:3] != ["api", "v1", "products"]:
        return as_json({"error": "not found"}, 404)
    if len(parts) == 3:
        return as_json([PRODUCT])
    ident, headers = parts[3], carried(request)
    if len(parts) == 4:
        status, details = fetch("details", f"/details/{ident}", headers)
    elif parts[4] == "reviews":
        status, details = fetch("reviews", f"/reviews/{ident}", headers, tries=2)
    elif parts[4] == "ratings":
        status, details = fetch("ratings", f"/ratings/{ident}", headers)
    else:
        return as_json({"error": "not found"}, 404)
    return as_json(details, status)


if __name__ == "__main__":
    serve(page, int(sys.argv[1]) if len(sys.argv) > 1 else 9080)
