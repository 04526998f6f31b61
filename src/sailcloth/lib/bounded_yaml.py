"""Parses untrusted YAML: checks depth, nodes and characters with all aliases expanded before any object is built, and builds what JSON has.

PyYAML composes recursively, in C, and expands aliases by reference: 40 000 brackets crash the process, and a few hundred bytes
of aliases become gigabytes, or as deep as they are many, when serialised. Parser events are neither nested nor expanded, so this
module counts them first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

DEEPEST = 128  # levels of nested collections, aliases expanded
MOST_NODES = 500_000  # of one document, aliases expanded
LARGEST = 16 << 20  # characters
_LONGEST_NUMBER = 400  # characters; the largest number of 64 bits that JSON's readers agree on has 309 digits


class TooComplex(yaml.YAMLError, ValueError):
    """The document exceeds a limit; the message names it."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Builds values that JSON has, as Kubernetes does: times stay text, and what has no equivalent is an error."""


def _time(loader: Loader, node: Any) -> Any:
    return loader.construct_scalar(node)


def _int(loader: Loader, node: Any) -> Any:
    if len(node.value) > _LONGEST_NUMBER:
        raise yaml.constructor.ConstructorError(None, None, "the number is too long", node.start_mark)
    return loader.construct_yaml_int(node)


def _float(loader: Loader, node: Any) -> Any:
    value = loader.construct_yaml_float(node)
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is no number of JSON", node.start_mark)
    return value


for _name, _constructor in {"timestamp": _time, "int": _int, "float": _float}.items():
    Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _constructor)
for _name in ("binary", "omap", "pairs", "set"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_name}", Loader.construct_undefined)


def load(text: str | bytes, loader: Any = Loader) -> Any:
    """The one document of a text. Raises yaml.YAMLError."""
    check(text, documents=1)
    return next(_built(text, loader), None)


def load_all(text: str | bytes) -> Iterator[Any]:
    """The documents of a text. Raises yaml.YAMLError."""
    check(text)
    yield from _built(text, Loader)


def _built(text: str | bytes, loader: Any) -> Iterator[Any]:
    try:
        yield from yaml.load_all(text, Loader=loader)
    except (ValueError, KeyError) as error:  # `!!int x`, `!!bool x`
        raise yaml.YAMLError(f"a value does not fit its tag: {error}") from None


def check(text: str | bytes, documents: int = LARGEST) -> None:
    """Raises TooComplex for a text that is too long, has too many documents, is too deeply nested, or has too many nodes after alias
    expansion; yaml.YAMLError for a text that is not YAML."""
    if len(text) > LARGEST:
        raise TooComplex(f"the YAML is longer than {LARGEST} bytes")
    anchored: dict[str, _Size] = {}
    stack: list[_Open] = []
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents -= 1
            if documents < 0:
                raise TooComplex("the YAML has more documents than one")
            anchored.clear()
            stack = [_Open(None, 0)]
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(event.anchor))
            _add(stack, _Size(0, 0, 0))
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = stack.pop()
            size = _Size(closed.nodes, closed.levels, closed.characters)
            if closed.anchor is not None:
                anchored[closed.anchor] = size
            _add(stack, size)
        elif isinstance(event, yaml.ScalarEvent):
            size = _Size(1, 0, len(event.value))
            if event.anchor is not None:
                anchored[event.anchor] = size
            _add(stack, size)
        elif isinstance(event, yaml.AliasEvent):
            if any(node.anchor == event.anchor for node in stack):
                raise TooComplex(f"the YAML's alias *{event.anchor} stands in what it names")
            _add(stack, anchored.get(str(event.anchor), _Size(1, 0, 0)))


class _Size(NamedTuple):
    """Of a value with its aliases expanded: nodes, levels of collections, characters of all scalars."""

    nodes: int
    levels: int
    characters: int


class _Open:
    """A collection whose end has not come: its size so far, itself included."""

    def __init__(self, anchor: str | None, nodes: int = 1) -> None:
        self.anchor, self.nodes, self.levels, self.characters = anchor, nodes, nodes, 0


def _add(stack: list[_Open], size: _Size) -> None:
    """Count a value in the innermost open collection."""
    holder = stack[-1]
    holder.nodes += size.nodes
    holder.levels = max(holder.levels, size.levels + 1)
    holder.characters += size.characters
    if holder.nodes > MOST_NODES:
        raise TooComplex(f"the YAML has more than {MOST_NODES} nodes once its aliases are expanded")
    if holder.characters > LARGEST:
        raise TooComplex(f"the YAML has more than {LARGEST} characters once its aliases are expanded")
    if len(stack) - 2 + holder.levels > DEEPEST:
        raise TooComplex(f"the YAML has more than {DEEPEST} collections within each other")
