"""Collects the findings about one object. Validation functions get a report and the path of the field that they check."""

from __future__ import annotations

from sailcloth.api.meta import Finding, Key


class Report:
    """The findings about one object. Paths are complete, such as `spec.http[0].route[1].weight`."""

    def __init__(self, resource: Key) -> None:
        self.resource = resource
        self._findings: list[Finding] = []

    def error(self, code: str, path: str, text: str, fix: str = "") -> None:
        """Add an error; the object is rejected."""
        self._findings.append(
            Finding(code=code, severity="Error", resource=self.resource, path=path, text=text, fix=fix)
        )

    def warning(self, code: str, path: str, text: str, fix: str = "") -> None:
        """Add a warning; the object is accepted."""
        self._findings.append(
            Finding(code=code, severity="Warning", resource=self.resource, path=path, text=text, fix=fix)
        )

    def findings(self) -> tuple[Finding, ...]:
        """All findings: errors first, otherwise in the order in which they were added."""
        return tuple(sorted(self._findings, key=lambda f: f.severity != "Error"))
