"""Routes of VirtualServices that are valid and do less than they say, and legacy objects that lose a part."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding, duration_ms
from sailcloth.mesh import legacy

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .unstructured import Object


def weights(context: Context, rule: Document) -> Iterator[Finding]:
    """Weights of single destinations, and destinations that are in a route twice."""
    for kind in ("http", "tls", "tcp"):
        for index, route in unstructured.objects(rule.spec, kind):
            at, targets = f"spec.{kind}[{index}].route", list(unstructured.objects(route, "route"))
            weight = unstructured.number(targets[0][1], "weight") if len(targets) == 1 else 0
            if weight not in (0, 100):
                yield finding("SAIL1027", rule.key, f"{at}[0].weight", weight)
            seen: set[str] = set()
            for number, target in targets:
                name = _name(unstructured.mapping(target, "destination"))
                if name in seen and "headers" not in target:
                    yield finding("SAIL1028", rule.key, f"{at}[{number}].destination", name)
                seen.add(name)


def _name(destination: Object) -> str:
    host, subset = unstructured.text(destination, "host"), unstructured.text(destination, "subset")
    port = unstructured.text(destination, "port", "number")
    return host + (f" subset {subset}" if subset else "") + (f" port {port}" if port else "")


def retries(context: Context, rule: Document) -> Iterator[Finding]:
    """Tries that take longer than the timeout of their route."""
    for index, route in unstructured.objects(rule.spec, "http"):
        tries = unstructured.number(route, "retries", "attempts") + 1
        each, whole = unstructured.text(route, "retries", "perTryTimeout"), unstructured.text(route, "timeout")
        try:
            each_ms, whole_ms = duration_ms(each or "0"), duration_ms(whole or "0")
        except ValueError:
            continue
        if tries > 1 and each_ms and whole_ms and each_ms * (tries - 1) >= whole_ms:
            yield finding("SAIL1106", rule.key, f"spec.http[{index}].retries", tries, each, whole)


def legacy_losses(context: Context, one: Document) -> Iterator[Finding]:
    """What of legacy objects does not hold as it says, once they are converted."""
    for note in legacy.verdict(context.graph, one.key).notes:
        yield finding("SAIL1108", one.key, "spec", note)
