"""Collects findings about one object while it is looked at. Rules get a report and a path, and say what they see."""

from __future__ import annotations

from sailcloth.api.meta import Finding, Key


class Report:
    """The findings so far. Paths are full, such as `spec.http[0].route[1].weight`."""

    def __init__(self, resource: Key) -> None:
        self.resource = resource
        self._findings: list[Finding] = []

    def error(self, code: str, path: str, text: str, fix: str = "") -> None:
        """Something that makes the object be refused."""
        self._findings.append(
            Finding(code=code, severity="Error", resource=self.resource, path=path, text=text, fix=fix)
        )

    def warning(self, code: str, path: str, text: str, fix: str = "") -> None:
        """Something that is accepted and should be looked at."""
        self._findings.append(
            Finding(code=code, severity="Warning", resource=self.resource, path=path, text=text, fix=fix)
        )

    def findings(self) -> tuple[Finding, ...]:
        """What was found, errors first, otherwise in the order of the object."""
        return tuple(sorted(self._findings, key=lambda f: f.severity != "Error"))
