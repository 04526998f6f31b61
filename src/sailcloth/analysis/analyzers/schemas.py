"""What admission says of single objects: values that do not match the schema, unreachable rules, deprecated fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sailcloth.api import validation
from sailcloth.api.meta import Finding, Key
from sailcloth.api.validation import codes, reachability
from sailcloth.api.virtual_service import VirtualServiceSpec

from . import unstructured
from .catalogue import finding
from .context import Context, Document

KINDS = validation.KINDS
"""The kinds that have rules."""


def of_any(_: Context, one: Document) -> Iterator[Finding]:
    """The findings of admission about an object."""
    return of_object(one)


def of_object(one: Document) -> Iterator[Finding]:
    """The findings of admission as Istio's codes. A field path stands before the text, as in Istio's errors."""
    for found in one.admission:
        if found.code in (codes.DEPRECATED, codes.UNREACHABLE):
            continue
        text = f"{found.path}: {found.text}" if found.path else found.text
        code = "IST0106" if found.severity == "Error" else "IST0133"
        yield finding(code, one.key, found.path, text, fix=found.fix)
    if one.key.kind == "VirtualService":
        yield from _unreachable(one)


def _unreachable(one: Document) -> Iterator[Finding]:
    try:
        spec = msgspec.convert(one.spec, VirtualServiceSpec)
    except msgspec.ValidationError:
        return  # the schema's findings say why
    for found in reachability.unreachable(spec):
        rules: Any = getattr(spec, found.kind)
        rule = _label(rules[found.rule], found.rule)
        if found.match is None:
            reason = (
                "all matches used by prior rules" if found.earlier is None else "only the last rule can have no matches"
            )
            yield finding("IST0130", one.key, found.path, rule, reason)
        else:
            earlier = found.earlier or 0
            match = _label(rules[found.rule].match[found.match], found.match)
            yield finding("IST0131", one.key, found.path, rule, match, _label(rules[earlier], earlier))


def _label(named: Any, index: int) -> str:
    """A rule or match by its name, or by its number."""
    name = getattr(named, "name", None)
    return f'"{name}"' if name else f"#{index}"


def deprecations(context: Context, one: Document) -> Iterator[Finding]:
    """Deprecated fields."""
    for found in one.admission:
        if found.code == codes.DEPRECATED:
            yield finding("IST0002", one.key, found.path, found.text, fix=found.fix)
    if one.key.kind == "VirtualService":
        yield from _percentages(one)
    if one.key.kind == "Sidecar" and unstructured.mapping(one.spec, "outboundTrafficPolicy", "egressProxy"):
        at = "spec.outboundTrafficPolicy.egressProxy"
        yield finding("IST0002", one.key, at, "OutboundTrafficPolicy_EgressProxy is deprecated")


_PERCENTAGES = (
    (("fault", "delay", "percent"), "HTTPRoute.fault.delay.percent", "HTTPRoute.fault.delay.percentage"),
    (("mirrorPercent",), "HTTPRoute.mirrorPercent", "HTTPRoute.mirrorPercentage"),
    (("mirror_percent",), "HTTPRoute.mirror_percent", "HTTPRoute.mirrorPercentage"),
)


def _percentages(rule: Document) -> Iterator[Finding]:
    for index, route in unstructured.objects(rule.spec, "http"):
        for path, old, new in _PERCENTAGES:
            if path[-1] in unstructured.mapping(route, *path[:-1]):
                yield _replaced(rule.key, f"spec.http[{index}].{'.'.join(path)}", old, new)


def _replaced(key: Key, path: str, old: str, new: str) -> Finding:
    return finding("IST0002", key, path, f"{old} is deprecated; use {new}")
