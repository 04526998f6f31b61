"""The text format: what is taken, what is refused, and that a known line is not parsed again."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.telemetry.exposition import ExpositionError, Metadata, parse

from . import unhurried


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("up 1", {"__name__": "up"}, 1.0),
        ("a:b_c 1.5e3", {"__name__": "a:b_c"}, 1500.0),
        ("a{} -2", {"__name__": "a"}, -2.0),
        ('a{x="1"} 2', {"__name__": "a", "x": "1"}, 2.0),
        ('a { x = "1" , y="2", } 2', {"__name__": "a", "x": "1", "y": "2"}, 2.0),
        ('a{x="1"}2', {"__name__": "a", "x": "1"}, 2.0),
        ('a{x="1"} 2 1700000000000', {"__name__": "a", "x": "1"}, 2.0),
        ("a\t3", {"__name__": "a"}, 3.0),
        (r'a{x="q\"\\\n}"} 1', {"__name__": "a", "x": 'q"\\\n}'}, 1.0),
        ('a{x=""} 1', {"__name__": "a"}, 1.0),
        ('a{x="é, {\'}"} +Inf', {"__name__": "a", "x": "é, {'}"}, math.inf),
    ],
)
def test_lines(line: str, labels: dict[str, str], value: float) -> None:
    page = parse((line + "\n").encode(), {})
    assert [(s.labels, s.value) for s in page.new] == [(labels, value)]
    known = parse((line + "\n").encode(), {page.new[0].key: 7})
    assert (known.rows, known.values, known.new) == ([7], [value], [])


def test_not_a_number_is_a_value() -> None:
    assert math.isnan(parse(b"a NaN\n", {}).new[0].value)


@pytest.mark.parametrize(
    "body",
    [
        b"a",
        b"a b",
        b"{} 1",
        b'a{x="1" 2',
        b"a{x=1} 2",
        b'a{x="1",x="2"} 2',
        b"a 1 2 3",
        b"a 1 x",
        b"1a 2",
        b"a 1_0",
        b"\xff 1",
        b"a{" + b",".join(b'l%d="x"' % i for i in range(70)) + b"} 1",
        b'a{x="' + b"y" * 5000 + b'"} 1',
    ],
)
def test_bad_lines_are_named(body: bytes) -> None:
    with pytest.raises(ExpositionError, match=r"line 2|UTF-8"):
        parse(b"good 1\n" + body + b"\n", {})


def test_pages_are_bounded() -> None:
    with pytest.raises(ExpositionError, match="lines"):
        parse(b"\n" * 300_000, {})
    with pytest.raises(ExpositionError, match="MiB"):
        parse(b" " * (33 << 20), {})


def test_types_and_help() -> None:
    metadata = Metadata()
    parse(b"# HELP a What it\\nis.\n# TYPE a counter\n# TYPE b histogram\n# a comment\n#\na 1\n", {}, metadata)
    assert metadata.types == {"a": "counter", "b": "histogram"}
    assert metadata.help == {"a": "What it\nis."}


_NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)


@unhurried
@given(
    st.dictionaries(_NAMES, st.text(min_size=1, max_size=8).filter(lambda t: "\x00" not in t), max_size=4), st.floats()
)
def test_what_is_written_is_read(labels: dict[str, str], value: float) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    if any("\ud800" <= c <= "\udfff" for text in labels.values() for c in text):
        return
    line = "m{" + ",".join(f'{n}="{escaped(v)}"' for n, v in labels.items()) + f"}} {value!r}\n"
    (sample,) = parse(line.encode(), {}).new
    assert sample.labels == {"__name__": "m", **labels}
    assert sample.value == value or math.isnan(value)


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(ExpositionError):
        parse(body, {}, Metadata())
