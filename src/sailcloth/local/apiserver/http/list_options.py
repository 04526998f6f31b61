"""Which revision a list or a watch is of: `resourceVersion`, `resourceVersionMatch` and `sendInitialEvents`, as Kubernetes reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import StatusError, invalid
from ..field_errors import FieldError, forbidden, unsupported
from . import bodies

_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"


def list_revision(query: Mapping[str, str], current: int) -> int | None:
    """The revision that a list must be of; None for the latest. Raises StatusError, also for one that is yet to come."""
    _refuse(_list_problems(query))
    if query.get("continue"):
        return None
    wanted = bodies.non_negative(query, "resourceVersion")
    if wanted > current:
        raise _too_large(wanted, current)
    # A list with a limit and a revision is of that revision, as it was before `resourceVersionMatch`.
    exact = query.get("resourceVersionMatch") == _EXACT or (
        bool(query.get("limit")) and not query.get("resourceVersionMatch") and wanted > 0
    )
    return wanted if exact else None


def check_watch(query: Mapping[str, str]) -> None:
    """Raises StatusError."""
    _refuse(_watch_problems(query))


def _list_problems(query: Mapping[str, str]) -> Iterator[FieldError]:
    match, revision = query.get("resourceVersionMatch"), query.get("resourceVersion")
    if "sendInitialEvents" in query:
        yield forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if not match:
        return
    if query.get("continue"):
        yield forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    if not revision:
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        yield forbidden("resourceVersionMatch", text)
    if match not in (_EXACT, _NOT_OLDER):
        yield unsupported("resourceVersionMatch", match, (_EXACT, _NOT_OLDER, ""))
    if match == _EXACT and revision == "0":
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        yield forbidden("resourceVersionMatch", text)


def _watch_problems(query: Mapping[str, str]) -> Iterator[FieldError]:
    match, initial = query.get("resourceVersionMatch"), "sendInitialEvents" in query
    if match and not initial:
        yield forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )
    if initial and match != _NOT_OLDER:
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        yield forbidden("resourceVersionMatch", text)
    if initial and query.get("continue"):
        yield forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")


def _refuse(problems: Iterator[FieldError]) -> None:
    if listed := list(problems):
        raise invalid("ListOptions", "meta.k8s.io", "", listed)


def _too_large(wanted: int, current: int) -> StatusError:
    text = f"Too large resource version: {wanted}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return StatusError(504, "Timeout", text, {"causes": [cause], "retryAfterSeconds": 1})
