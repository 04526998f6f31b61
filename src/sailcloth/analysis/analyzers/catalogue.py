"""All codes of the analysis, and the findings made of them: the code decides severity and text. Must not decide what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sailcloth.api.meta import Finding, Key, Severity

from . import istio_codes, own_codes

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


MESSAGES: dict[str, Message] = {
    row[0]: Message(row[0], cast(Severity, row[1]), *row[2:], kiali=own_codes.KIALI.get(row[0], ()))
    for row in (*istio_codes.ROWS, *own_codes.ROWS)
}
"""By code."""


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
