"""CEL as Envoy evaluates it: attributes of a request and few functions. A wrong expression makes Envoy refuse a whole listener.

Attributes: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes. The functions were asked of Envoy.
"""

from __future__ import annotations

import re
from typing import Final

FUNCTIONS: Final = frozenset(["contains", "endsWith", "has", "matches", "size", "startsWith"])
_ROOTS: Final = frozenset(
    [
        "request",
        "response",
        "source",
        "destination",
        "connection",
        "upstream",
        "node",
        "metadata",
        "filter_state",
        "upstream_filter_state",
        "xds",
        "plugin_name",
    ]
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>\d+(?:\.\d+)?u?)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}]))"""
)
_WORDS: Final = frozenset(["true", "false", "null", "in"])
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
_STRING_OF = re.compile(r"\s*string\s*\((?P<inner>[^()]*)\)\s*")


def without_string(expression: str) -> str:
    """An expression without the `string(…)` around it, which Istio's filter needs and Envoy does not have: a value becomes text."""
    found = _STRING_OF.fullmatch(expression)
    return found["inner"].strip() if found else expression.strip()


def problem(expression: str) -> str:
    """What Envoy would refuse in an expression; empty if nothing is known."""
    position, open_signs, last = 0, [], ""
    text = expression.rstrip()
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return f"{text[position:].strip()[:20]!r} is not CEL"
        sign, name = token["sign"] or "", token["name"] or ""
        follows = text[token.end() :].lstrip()[:1]
        if name and last != "." and follows != "(" and name not in _ROOTS | _WORDS:
            return f"unknown attribute {name!r}; Envoy has {', '.join(sorted(_ROOTS))}"
        if name and follows == "(" and name not in FUNCTIONS:
            return f"Envoy has no function {name!r} here; it has {', '.join(sorted(FUNCTIONS))}"
        if (token["text"] or token["number"] or name) and last == "operand" and name not in ("in",):
            return f"two values follow each other at {text[token.start() :].strip()[:20]!r}"
        if sign in ("(", "[", "{"):
            open_signs.append(sign)
        elif sign in _PAIRS and (not open_signs or open_signs.pop() != _PAIRS[sign]):
            return f"{sign!r} closes nothing"
        operand = token["text"] or token["number"] or (name and name != "in" and follows != "(") or sign in _PAIRS
        last = "operand" if operand else sign
        position = token.end()
    if open_signs:
        return f"{open_signs[-1]!r} is not closed"
    return "the expression is empty" if not text.strip() else "it ends early" if last != "operand" else ""
