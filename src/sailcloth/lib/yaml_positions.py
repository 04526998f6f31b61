"""Lines of fields in a YAML text, by field path such as `spec.http[0].route[1].weight`. Must not build values."""

from __future__ import annotations

import re
from typing import Any

import yaml

from . import bounded_yaml

_STEP = re.compile(r"\[(\d+)\]|\[([^\]]*)\]|([^.\[\]]+)")


def steps(path: str) -> list[int | str]:
    """The names and indexes of a field path. A name with dots is in brackets: `metadata.annotations[a.b/c]`."""
    return [int(index) if index else bracketed or name for index, bracketed, name in _STEP.findall(path)]


class Positions:
    """The documents of one YAML text. Raises yaml.YAMLError for a text that `bounded_yaml` refuses."""

    def __init__(self, text: str) -> None:
        bounded_yaml.check(text)
        self._roots: list[Any] = list(yaml.compose_all(text, Loader=bounded_yaml.Loader))

    def line(self, document: int, path: str) -> int:
        """The line, from 1, of the deepest field of the path that the document has; that of the document's first field for none.
        0 if there is no such document."""
        if document >= len(self._roots) or self._roots[document] is None:
            return 0
        node = self._roots[document]
        line = node.start_mark.line
        for step in steps(path):
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return int(line) + 1


def _child(node: Any, step: int | str) -> tuple[int, Any] | None:
    """(line, node) of a field or an item of a collection."""
    if isinstance(node, yaml.SequenceNode):
        if isinstance(step, int) and step < len(node.value):
            return node.value[step].start_mark.line, node.value[step]
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark.line, value
    return None
