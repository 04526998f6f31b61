"""Findings that users do not want: by an annotation of the object, or by code and object name on the command line."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from sailcloth.api.meta import Finding

from .context import Document
from .objects import ObjectSet

ANNOTATION = "galley.istio.io/analyze-suppress"


@dataclass(frozen=True, slots=True)
class Suppression:
    """`pattern`: `Kind name.namespace`, or `Kind name` without a namespace; `*` and `?` are wildcards."""

    code: str
    pattern: str

    def includes(self, finding: Finding) -> bool:
        key = finding.resource
        name = f"{key.kind} {key.name}.{key.namespace}" if key.namespace else f"{key.kind} {key.name}"
        return finding.code == self.code and fnmatch.fnmatchcase(name, self.pattern)


def parse(text: str) -> Suppression:
    """`CODE=Kind name.namespace`. Raises ValueError."""
    code, separator, pattern = text.partition("=")
    if not separator or not code or not pattern:
        raise ValueError(f"{text} is not a valid suppression value: write CODE=Kind name.namespace")
    return Suppression(code, pattern)


def remaining(findings: Iterable[Finding], objects: ObjectSet, rules: Iterable[Suppression] = ()) -> list[Finding]:
    """The findings that no rule and no annotation of their object suppresses."""
    rules = tuple(rules)
    suppressed = {d.key: _codes(d) for d in objects.all() if ANNOTATION in d.annotations}
    return [
        f
        for f in findings
        if not ({f.code, "*"} & suppressed.get(f.resource, set())) and not any(rule.includes(f) for rule in rules)
    ]


def _codes(document: Document) -> set[str]:
    return {code.strip() for code in document.annotations[ANNOTATION].split(",")}
