"""RE2 regular expressions, as in Kubernetes, Istio and Envoy: linear in the text, without look-around."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


class BadRegex(ValueError):
    """The text is not a valid RE2 expression."""


@lru_cache(maxsize=2048)
def compiled(pattern: str) -> Any:
    """The compiled expression. Raises BadRegex."""
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        raise BadRegex(text.decode() if isinstance(text, bytes) else str(text)) from None


def search(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text. Raises BadRegex."""
    return compiled(pattern).search(text) is not None
