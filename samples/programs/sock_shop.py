"""What the services of the Sock Shop share: where the others are, and calls between them.

A service `x` is asked at `http://x`, a database at its usual port; `X_ADDRESS=host:port` moves either, for tests.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from email.message import Message
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from store import Store
from web import Request, Response, as_json, call, forward

LIMIT_S = 5.0  # how long a service waits for another one


def address(name: str, port: int = 80) -> str:
    """host:port of a service or database; the port is left out where it is 80."""
    given = os.environ.get(name.upper().replace("-", "_") + "_ADDRESS", "")
    return given or (name if port == 80 else f"{name}:{port}")


def port(default: int = 80) -> int:
    """The port to serve on, from arguments such as `8080` or `-port=8080`."""
    found = [m[1] for m in (re.fullmatch(r"(?:--?port=)?(\d+)", a) for a in sys.argv[1:]) if m]
    return int(found[0]) if found else default


def ask(
    url: str, headers: Message | Mapping[str, str], method: str = "GET", body: Any = None, limit: float = LIMIT_S
) -> tuple[int, Any]:
    """(status, decoded JSON) of a request to another service; text that is no JSON comes as it is. Raises OSError or HTTPException."""
    carried = forward(headers) if isinstance(headers, Message) else dict(headers)
    data = b"" if body is None else json.dumps(body).encode()
    if data:
        carried["content-type"] = "application/json"
    status, text = call(url, carried, limit, method, data)
    try:
        return status, json.loads(text) if text else None
    except ValueError:
        return status, text.decode(errors="replace")


def fields(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body. Raises ValueError."""
    found = json.loads(request.body or b"{}")
    if not isinstance(found, dict):
        raise ValueError("the body must be a JSON object")
    return found


def missing(what: str = "not found", status: int = 404) -> Response:
    return as_json({"error": what, "status_code": status}, status)


def health(name: str, store: Store | None = None) -> Response:
    """What /health says of a service and its database."""
    states = [{"service": name, "status": "OK"}]
    if store is not None:
        try:
            store.ask("ping")
            states.append({"service": f"{name}-db", "status": "OK"})
        except (OSError, ValueError):
            states.append({"service": f"{name}-db", "status": "err"})
    return as_json({"health": states})
