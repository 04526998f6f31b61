"""Sock Shop payment: says yes to amounts up to a limit. Arguments: `-port=N`, `-decline=N` (105 unless told)."""

from __future__ import annotations

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sock_shop import fields, health, missing, port
from web import Request, Response, as_json, serve

LIMIT = next((float(m[1]) for m in (re.fullmatch(r"--?decline=([0-9.]+)", a) for a in sys.argv[1:]) if m), 105.0)


def page(request: Request) -> Response:
    if request.path == "/health":
        return health("payment")
    if request.path == "/metrics":
        return Response("# TYPE up gauge\nup 1\n", kind="text/plain; version=0.0.4")
    if request.path != "/paymentAuth" or request.method != "POST":
        return missing()
    try:
        amount = float(fields(request)["amount"])
    except (KeyError, TypeError, ValueError):
        return missing("the body needs an amount", 400)
    if amount <= 0:
        return missing("Invalid payment amount", 500)
    if amount > LIMIT:
        return as_json({"authorised": False, "message": f"Payment declined: amount exceeds {LIMIT:.2f}"})
    return as_json({"authorised": True, "message": "Payment authorised"})


if __name__ == "__main__":
    serve(page, port())
