"""Where the fields of YAML documents stand: lines by the paths of findings, such as `spec.http[0].route`."""

from __future__ import annotations

import re
from typing import Any

import yaml

from . import bounded_yaml

_PART = re.compile(r"\[(?P<index>\d+)\]|\[(?P<key>[^\]]*)\]|\.?(?P<name>[^.\[\]]+)")


def documents(text: str) -> list[Any]:
    """The nodes of the documents that are not empty, for `line`. Raises yaml.YAMLError."""
    bounded_yaml.check(text)
    return [node for node in yaml.compose_all(text, Loader=bounded_yaml.Loader) if node is not None]


def line(document: Any, path: str) -> int:
    """The line, from 1, of the field at a path of a document, or of the closest field around it that is there."""
    node, found = document, document.start_mark.line
    for match in _PART.finditer(path):
        index, name = match["index"], match["key"] if match["key"] is not None else match["name"]
        if isinstance(node, yaml.SequenceNode) and index is not None and int(index) < len(node.value):
            node = node.value[int(index)]
            found = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            wanted = index if name is None else name
            pair = next(((k, v) for k, v in node.value if k.value == wanted), None)
            if pair is None:
                break
            found, node = pair[0].start_mark.line, pair[1]
        else:
            break
    return int(found) + 1
