"""Lines of fields by their paths."""

from __future__ import annotations

import pytest
import yaml

from sailcloth.lib.bounded_yaml import TooComplex
from sailcloth.lib.yaml_positions import Positions, steps

TEXT = """\
# a comment
kind: A
metadata:
  annotations:
    a.b/c: d
spec:
  http:
  - match: []
    route:
    - destination: {host: x}
    -
      destination:
        host: y
---
---
kind: B
"""


@pytest.mark.parametrize(
    ("document", "path", "line"),
    [
        (0, "", 2),
        (0, "kind", 2),
        (0, "metadata.annotations[a.b/c]", 5),
        (0, "spec.http[0].route[1].destination.host", 13),
        (0, "spec.http[0].route[0].destination.port", 10),
        (0, "spec.http[7].route", 7),
        (0, "status", 2),
        (2, "kind", 16),
        (3, "kind", 0),
    ],
)
def test_lines(document: int, path: str, line: int) -> None:
    assert Positions(TEXT).line(document, path) == line


def test_steps() -> None:
    assert steps("a.b[2][c.d/e].f") == ["a", "b", 2, "c.d/e", "f"]
    assert steps("") == []


def test_what_is_too_complex_is_refused() -> None:
    with pytest.raises(TooComplex):
        Positions("[" * 1000)
    with pytest.raises(yaml.YAMLError):
        Positions("a: [")
