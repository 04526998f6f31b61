"""Validates regular expressions in RE2's syntax, which Envoy uses, by translating them for `re`.

Reports only errors that RE2 has for sure: Perl syntax that it does not support, and invalid syntax. Expressions that only RE2
itself can check are accepted.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

LONGEST = 1024  # characters; Istio's limit for expressions in routes

_CLASSES = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "word": r"\w",
            "space": r"\s", "punct": "!-/:-@", "xdigit": "0-9a-fA-F", "blank": r"\t ", "cntrl": r"\x00-\x1f",
            "graph": "!-~", "print": " -~", "ascii": r"\x00-\x7f"}  # fmt: skip
_TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|\Z)"
    r"|\\(?P<unicode>[pP](?:\{\^?\w+\}|[A-Z]))"
    r"|\\x\{(?P<hex>[0-9A-Fa-f]{1,6})\}"
    r"|\\(?P<set>[dwsDWS])-"
    r"|\\(?P<escape>.)"
    r"|\[:(?P<class>\^?\w+):\]"
    r"|\(\?(?P<flags>[imsU]+(?:-[imsU]+)?|-[imsU]+)(?P<close>[:)])"
    r"|\(\?P?<(?P<named>[A-Za-z_]\w*)>"
    r"|\(\?(?P<group>[^:]|\Z)"
    r"|(?P<many>\{(?P<low>\d+)(?:,(?P<high>\d*))?\}|[*+?])(?P<twice>[+*])?",
    re.DOTALL,
)


@lru_cache(maxsize=4096)
def problem(text: str) -> str | None:
    """The error in an expression; None if none is found."""
    if len(text) > LONGEST:
        return f"the regular expression has {len(text)} characters, at most {LONGEST} are allowed"
    try:
        plain = _translate(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(plain)
    except (ValueError, OverflowError, RecursionError, re.error) as error:
        return f"{text!r} is not an RE2 regular expression: {error}"
    return None


def missing_group(expression: str, replacement: str) -> int | None:
    """The number of a group that a replacement (`\\1`) refers to and the expression does not have; None if it has all, or if the
    expression is wrong itself. `\\0` is the whole match."""
    if problem(expression) is not None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = re.compile(_translate(expression)).groups
    used = (int(match[1]) for match in re.finditer(r"\\\\|\\(\d)", replacement) if match[1])
    return next((number for number in used if number > groups), None)


def lone_backslash(replacement: str) -> bool:
    """Whether a replacement has a backslash before something else than a digit or a backslash: RE2 then replaces nothing."""
    return re.fullmatch(r"(?:[^\\]|\\[0-9\\])*", replacement, re.DOTALL) is None


def _translate(text: str) -> str:
    """The expression in the syntax of `re`. Raises ValueError for syntax that RE2 does not support."""
    parts: list[str] = []
    end, bracket = 0, False
    for match in _TOKEN.finditer(text):
        between = text[end : match.start()]
        parts.append(between)
        bracket = _inside(between, bracket)
        parts.append(_token(match, bracket))
        end = match.end()
    parts.append(text[end:])
    return "".join(parts)


def _inside(between: str, bracket: bool) -> bool:
    """Whether a character class is open after this text; a `]` at the start of a class is an ordinary character."""
    start = -1
    for index, character in enumerate(between):
        if character == "[" and not bracket:
            bracket, start = True, index
        elif character == "]" and between[start:index] not in ("[", "[^"):
            bracket = False
    return bracket


def _token(match: re.Match[str], bracket: bool) -> str:
    if match["quoted"] is not None:
        return re.escape(match["quoted"])
    if match["unicode"]:
        return r"\w" if match["unicode"][0] == "p" else r"\W" if not bracket else ""
    if match["hex"]:
        if int(match["hex"], 16) > 0xFF:
            raise ValueError(f"{match[0]}: Envoy compares bytes, so that character codes are at most FF")
        return re.escape(chr(int(match["hex"], 16)))
    if match["set"]:
        return f"\\{match['set']}\\-"  # RE2 treats a dash after a class as a literal
    if match["escape"]:
        return _escape(match["escape"], bracket)
    if match["class"]:
        characters = _CLASSES.get(match["class"].lstrip("^"))
        if characters is None:
            raise ValueError(f"there is no character class [:{match['class']}:]")
        return characters if bracket else match[0]
    if bracket:
        return match[0]
    if match["flags"]:
        return "(?:" if match["close"] == ":" else "(?:)"
    if match["named"]:
        return f"(?P<{match['named']}>"
    if match["group"] is not None:
        raise ValueError(f"(?{match['group']} is not supported: RE2 has no look-around, conditions or atomic groups")
    if match["twice"]:
        raise ValueError(f"bad repetition {match[0]}")
    if match["low"] and max(int(match["low"]), int(match["high"] or 0)) > 1000:
        raise ValueError(f"repetition {match[0]} is more than 1000")
    return match[0]


def _escape(character: str, bracket: bool) -> str:
    if character in "123456789" and not bracket:
        raise ValueError(f"\\{character}: RE2 has no back-references")
    if character == "z":
        return r"\Z"
    if character == "C":
        return "."
    if character in "ZuUNkGKRXhHeco":
        raise ValueError(f"\\{character} is not an escape sequence")
    return "\\" + character
