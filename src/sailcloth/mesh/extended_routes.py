"""Routes of requests with what VirtualServices have no fields for. Nothing here knows who makes them, or Envoy."""

from __future__ import annotations

from sailcloth.api.meta import Struct
from sailcloth.api.virtual_service import HTTPRoute

WHOLE = 100.0


class Session(Struct):
    """Requests of a session go to the endpoint that its first one was sent to, which a cookie names, or a header. `lifetime_ms`: of a cookie
    that outlives the browser's session."""

    name: str
    header: bool = False
    lifetime_ms: int = 0


class ExtendedRoute(HTTPRoute):
    """`share`: the percentage of matching requests that this route or an earlier one with the same match takes; the rest is left to later
    ones."""

    share: float = WHOLE
    session: Session | None = None


def is_partial(rule: HTTPRoute | None) -> bool:
    """Whether a route leaves requests to later ones that it matches."""
    return isinstance(rule, ExtendedRoute) and rule.share < WHOLE


def session_of(rule: HTTPRoute | None) -> Session | None:
    """The session that a route keeps."""
    return rule.session if isinstance(rule, ExtendedRoute) else None
