"""All codes of the analysis, and the findings made of them: the code decides severity and text. Must not decide what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from sailcloth.api.meta import Finding, Key, Severity
from sailcloth.lib import bounded_yaml

REFERENCE = "https://istio.io/latest/docs/reference/config/analysis"
_VERB = re.compile(r"%[vsdq]")


@dataclass(frozen=True, slots=True)
class Message:
    """One code. `template`: the text, with Go's verbs for values. `kiali`: the codes of Kiali that say the same."""

    code: str
    severity: Severity
    name: str
    meaning: str
    template: str
    kiali: tuple[str, ...] = ()


_DATA: dict[str, Any] = bounded_yaml.load(files(__package__).joinpath("codes.yaml").read_text())

MESSAGES: dict[str, Message] = {
    code: Message(code, row["level"], row["name"], row["meaning"], row["text"], tuple(row.get("kiali", ())))
    for code, row in _DATA["codes"].items()
}
"""By code."""

NOT_TAKEN: dict[str, str] = _DATA["not_taken"]
"""Kiali's codes that no analyzer gives, and why."""


def finding(
    code: str, resource: Key, path: str, *values: Any, fix: str = "", severity: Severity | None = None
) -> Finding:
    """A finding of a code about the field at `path` of an object. `values` fill the code's template. Raises KeyError for a code
    that the catalogue does not have, and ValueError for a wrong number of values."""
    message = MESSAGES[code]
    text = rendered(message.template, values)
    return Finding(code=code, severity=severity or message.severity, resource=resource, path=path, text=text, fix=fix)


def url(code: str) -> str:
    """The page about a code; empty if Istio has none."""
    return f"{REFERENCE}/{code.lower()}/" if code.startswith("IST") else ""


def rendered(template: str, values: Sequence[Any]) -> str:
    """A template with its values, as Go's fmt prints texts, numbers, and lists of both."""
    rest = list(values)
    if len(_VERB.findall(template)) != len(rest):
        raise ValueError(f"{template!r} does not take {len(rest)} values")
    return _VERB.sub(lambda verb: _printed(rest.pop(0), verb[0] == "%q"), template)


def _printed(value: Any, quoted: bool) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(_printed(v, quoted) for v in value)}]"
    return json.dumps(str(value), ensure_ascii=False) if quoted else str(value)
