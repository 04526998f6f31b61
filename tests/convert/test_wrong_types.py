"""Objects with wrong types, nulls and absent fields: they convert as far as they can, and never fail."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.cli.convert import manifest_texts, steps
from sailcloth.cli.convert.documents import Document, scope_of

from .test_cases import CASES, name

WRONG: tuple[Any, ...] = (None, [], {}, "", "x", 0, -1, 1.5, True, [None], {"a": None}, [[]], [{}], ["x"], {"x": "y"})
TRIES = 40


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("path", CASES, ids=name)
def test_wrong_types(path: Path) -> None:
    bodies = [body for body in yaml.safe_load_all(path.read_text()) if body]
    rng = random.Random(path.parent.name)
    for _ in range(TRIES):
        spoiled = copy.deepcopy(bodies)
        for _ in range(rng.choice((1, 1, 2))):
            where = rng.choice([p for p in places(spoiled) if len(p) > 1 and p[1] not in ("apiVersion", "kind")])
            holder: Any = spoiled
            for step in where[:-1]:
                holder = holder[step]
            holder[where[-1]] = copy.deepcopy(rng.choice(WRONG))
        documents = [Document(body) for body in spoiled]
        manifest_texts.printed(steps.run(documents, scope_of(documents, "default"), "gateway-api"))
