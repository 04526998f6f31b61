"""Parses untrusted YAML: checks depth, number of nodes and alias expansion before any object is built.

PyYAML composes recursively, in C, and expands aliases by reference: 40 000 brackets crash the process, and a few hundred bytes
of aliases become gigabytes when serialised. Parser events are neither nested nor expanded, so this module counts them first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 128  # levels of nested collections
MOST_NODES = 500_000  # of one document, aliases expanded
LARGEST = 16 << 20  # characters

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TooComplex(yaml.YAMLError, ValueError):
    """The document exceeds a limit; the message names it."""


def load(text: str | bytes, loader: Any = _LOADER) -> Any:
    """The one document of a text. Raises yaml.YAMLError."""
    check(text)
    return yaml.load(text, Loader=loader)  # noqa: S506  callers' loaders are subclasses of the safe one


def load_all(text: str | bytes, loader: Any = _LOADER) -> Iterator[Any]:
    """The documents of a text. Raises yaml.YAMLError."""
    check(text)
    yield from yaml.load_all(text, Loader=loader)


def check(text: str | bytes) -> None:
    """Raises TooComplex for a text that is too long, too deeply nested, or has too many nodes after alias expansion;
    yaml.YAMLError for a text that is not YAML."""
    if len(text) > LARGEST:
        raise TooComplex(f"the YAML is longer than {LARGEST} bytes")
    sizes: dict[str, int] = {}  # of anchored nodes
    stack: list[tuple[str | None, int]] = []  # anchor and size so far of the open collections
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.DocumentStartEvent):
            sizes.clear()
            stack = [(None, 0)]
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, 1))
            if len(stack) > DEEPEST + 1:
                raise TooComplex(f"the YAML has more than {DEEPEST} collections within each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            _add(stack, sizes, *stack.pop())
        elif isinstance(event, yaml.ScalarEvent):
            _add(stack, sizes, event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            _add(stack, sizes, None, sizes.get(str(event.anchor), 1))


def _add(stack: list[tuple[str | None, int]], sizes: dict[str, int], anchor: str | None, size: int) -> None:
    if anchor is not None:
        sizes[anchor] = size
    holder, total = stack[-1]
    if total + size > MOST_NODES:
        raise TooComplex(f"the YAML has more than {MOST_NODES} nodes once its aliases are expanded")
    stack[-1] = (holder, total + size)
