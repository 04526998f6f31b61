"""Refusals as metav1.Status objects."""

from __future__ import annotations

from typing import Any


class StatusError(Exception):
    """An answer with a Status body. `warnings` go with it as headers."""

    warnings: tuple[str, ...] = ()

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def body(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            out["details"] = self.details
        return out


class TooManyConnections(StatusError):
    """The user has too many connections; this one is closed."""

    def __init__(self, user: str) -> None:
        super().__init__(429, "TooManyRequests", f"User {user!r} has too many connections, please try again later.")


def not_found(resource: str, name: str, group: str = "", plural: str = "") -> StatusError:
    details = {"name": name, "group": group, "kind": plural}
    return StatusError(404, "NotFound", f'{resource} "{name}" not found', details)


def already_exists(resource: str, name: str, group: str, plural: str) -> StatusError:
    return StatusError(
        409, "AlreadyExists", f'{resource} "{name}" already exists', {"name": name, "group": group, "kind": plural}
    )


def conflict(resource: str, name: str, text: str = "") -> StatusError:
    text = text or "the object has been modified; please apply your changes to the latest version and try again"
    return StatusError(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {text}', {"name": name})


def invalid(kind: str, group: str, name: str, problems: list[tuple[str, str, str]]) -> StatusError:
    """`problems` are (field, reason, message)."""
    causes = [{"reason": r, "message": m, "field": f} for f, r, m in problems]
    texts = [f"{f}: {m}" for f, _, m in problems]
    text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    label = f"{kind}.{group}" if group else kind
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    return StatusError(422, "Invalid", f'{label} "{name}" is invalid: {text}', details)


def bad_request(text: str) -> StatusError:
    return StatusError(400, "BadRequest", text)


def expired(
    text: str = "The provided continue parameter is too old to display a consistent list result.",
) -> StatusError:
    return StatusError(410, "Expired", text)
