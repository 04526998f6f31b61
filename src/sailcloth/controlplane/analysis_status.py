"""What an object's status says of its findings: the condition `PassedAnalysis` and Istio's `validationMessages`. Must not find anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sailcloth.analysis.analyzers import catalogue
from sailcloth.api.meta import Finding

MOST = 20
"""Messages in a status. An object with more has more to mend before the rest is of interest."""


def passed(findings: Sequence[Finding]) -> tuple[bool, str, str]:
    """(met, reason, message) of the condition. Findings of level Info do not count."""
    serious = [f for f in findings if f.severity != "Info"]
    if not serious:
        return True, "NoFindings", ""
    more = f" (and {len(serious) - 1} more)" if len(serious) > 1 else ""
    return False, catalogue.MESSAGES[serious[0].code].name, f"{_line(serious[0])}{more}"


def messages(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as `AnalysisMessageBase` of Istio's API, with text, field path and fix."""
    return [_message(f) for f in findings[:MOST]]


def _message(finding: Finding) -> dict[str, Any]:
    fields = {
        "type": {"code": finding.code, "name": catalogue.MESSAGES[finding.code].name},
        "level": finding.severity.upper(),
        "documentationUrl": catalogue.url(finding.code),
        "message": finding.text,
        "path": finding.path,
        "fix": finding.fix,
    }
    return {name: value for name, value in fields.items() if value}


def _line(finding: Finding) -> str:
    return f"{finding.code} {finding.path}: {finding.text}" if finding.path else f"{finding.code} {finding.text}"
