"""Bounds of YAML hold before anything is built of it."""

from __future__ import annotations

import pytest
import yaml

from sailcloth.lib import bounded_yaml


def test_what_is_within_the_bounds_is_as_it_was() -> None:
    text = "a: &x {b: [1, 2]}\nc: *x\n---\n- z\n"
    assert list(bounded_yaml.load_all(text)) == [{"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}, ["z"]]
    assert bounded_yaml.load("") is None
    depth = bounded_yaml.DEEPEST
    assert bounded_yaml.load("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 129 + "]" * 129,
        "{a: " * 40_000,
        "&a [x,x,x,x,x,x,x,x,x,x]: 1\n".join(["", ""])
        + "".join(f"k{n}: &n{n} [{','.join([f'*n{n - 1}' if n else 'x'] * 10)}]\n" for n in range(9)),
        "x" * ((16 << 20) + 1),
        "".join(f"k{n}: &n{n} [{f'*n{n - 1}' if n else 'x'}]\n" for n in range(200)),
        "a: &x {b: [*x]}",
        "---\n" * 1000,
        f"a: &x {'x' * 100_000}\nb: [{'*x,' * 1000}]\n",
        f"a: &x {{{'x' * 1000}: {'x' * 100_000}}}\nb: [{'*x,' * 1000}]\n",
    ],
    ids=[
        "depth",
        "maps",
        "aliases",
        "length",
        "depth by aliases",
        "a circle",
        "documents",
        "a long text",
        "a long pair",
    ],
)
def test_what_is_too_much_is_refused(text: str) -> None:
    with pytest.raises(bounded_yaml.TooComplex) as caught:
        bounded_yaml.load(text)
    assert isinstance(caught.value, yaml.YAMLError)


@pytest.mark.parametrize(
    "value",
    [
        "9" * 5000, "0x" + "f" * 100_000, "1" + ":59" * 20_000, "!!int abc", "!!float zz", "!!bool zz", ".nan", "-.inf",
        "!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]", "!!python/name:os.system x", "!!timestamp [a]",
    ],
)  # fmt: skip
def test_what_json_does_not_have_is_a_mistake_in_the_text(value: str) -> None:
    with pytest.raises(yaml.YAMLError):
        bounded_yaml.load(f"a: {value}")


def test_times_stay_text() -> None:
    assert bounded_yaml.load("[2001-01-01, 2001-99-99, 2001-01-01T00:00:00Z]") == [
        "2001-01-01",
        "2001-99-99",
        "2001-01-01T00:00:00Z",
    ]
