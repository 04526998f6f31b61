"""What `kubectl apply` makes of an object that exists: the merge of what is there, what is written now, and what the last apply wrote.

Must not read or write a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from .cluster import LAST_APPLIED

Object = dict[str, Any]


def applied(live: Object, written: Object) -> Object:
    """The object after an apply. What the last apply wrote and this one does not is removed; what others wrote stays; lists are replaced,
    but a Service's ports keep what the API server has added to them. The annotation of the last apply stays as it is."""
    metadata = live.get("metadata") or {}
    try:
        before = orjson.loads((metadata.get("annotations") or {}).get(LAST_APPLIED) or "{}")
    except orjson.JSONDecodeError:
        before = {}
    return _merged(live, written, before)


def _merged(live: Object, written: Object, before: Any) -> Object:
    before = before if isinstance(before, Mapping) else {}
    out = {k: v for k, v in live.items() if k in written or k not in before}
    for key, value in written.items():
        have = out.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            out[key] = _merged(have, value, before.get(key))
        elif key == "ports" and isinstance(value, list) and isinstance(have, list):
            out[key] = [_port(item, have, before.get(key)) for item in value]
        elif value is None and key in ("annotations", "labels"):
            continue
        elif value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def _port(written: Any, live: list[Any], before: Any) -> Any:
    """A port of a Service merged with the live one of its number; others as they are written."""
    number = written.get("port") if isinstance(written, dict) else None
    have, last = (
        next((p for p in ports if isinstance(p, dict) and p.get("port") == number), None)
        for ports in (live, before if isinstance(before, list) else ())
    )
    return _merged(have, written, last) if number is not None and have is not None else written
