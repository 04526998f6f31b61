"""What a manifest leaves to values: nodes that stand for an entry, an item or a text in otherwise plain data.

`render` evaluates them, `helm` writes them as the text of a template. Both must give the same object, so a node has only what Go's
templates and Python agree on. Must do neither itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sailcloth.api.revision import DEFAULT

Node: TypeAlias = Any
"""Plain data (dict, list, str, int, bool) in which any part may be one of the classes below."""


# -- texts and values: these may stand anywhere, also inside each other ---------------------------


@dataclass(frozen=True)
class Value:
    """What the values have at a path such as `pilot.resources`."""

    path: str


@dataclass(frozen=True)
class ReleaseName:
    """Name of the installed chart."""


@dataclass(frozen=True)
class ReleaseNamespace:
    """Namespace that the chart is installed in."""


@dataclass(frozen=True)
class Format:
    """A text whose `{}` are replaced by the nodes, which are texts."""

    text: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class First:
    """The first node that is not empty."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Revisioned:
    """The name of an object that each revision of the control plane has: with `-REVISION` in between, unless it has no name."""

    before: str
    after: str = ""


@dataclass(frozen=True)
class TrimPrefix:
    """A text without its prefix."""

    prefix: str
    node: Node


@dataclass(frozen=True)
class Merge:
    """The literal's entries, and those of the maps at the paths that it does not have."""

    literal: Mapping[str, Node]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class JsonText:
    """A text: the JSON of a node."""

    node: Node


@dataclass(frozen=True)
class YamlText:
    """A text: YAML with a line `key: JSON` for each entry of a mapping."""

    mapping: Merge


# -- conditions -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class Both:
    first: Condition
    second: Condition


@dataclass(frozen=True)
class Equal:
    node: Node
    text: str


@dataclass(frozen=True)
class Contains:
    """Whether a text contains another one."""

    value: Value
    text: str


@dataclass(frozen=True)
class Has:
    """Whether a list contains a text."""

    value: Value
    text: str


HAS_REVISION = Both(Value("revision"), Not(Equal(Value("revision"), DEFAULT)))
"""Whether the control plane's revision has a name."""

Condition: TypeAlias = Value | ReleaseName | Not | Both | Equal | Contains | Has
"""A value is true unless it is empty: null, false, 0, or without characters, items or entries."""


# -- entries, items, documents --------------------------------------------------------------------


@dataclass(frozen=True)
class When:
    """An entry's value, an item or a document that is there under a condition."""

    condition: Condition
    node: Node


@dataclass(frozen=True)
class IfElse:
    """One of two values of an entry."""

    condition: Condition
    node: Node
    otherwise: Node


@dataclass(frozen=True)
class Each:
    """Items: those of the list at a path."""

    path: str


@dataclass(frozen=True)
class EachPair:
    """Items: `{name, value}` for each entry of the map at a path, the value as text."""

    path: str


@dataclass(frozen=True)
class Check:
    """A condition that must not be, and what to tell whoever chose it."""

    condition: Condition
    message: str
