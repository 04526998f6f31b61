"""Splits texts into documents, and prints documents with their losses as comments. Must not change a document that is not converted."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from sailcloth.analysis import manifests

from .documents import Document

_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_WIDTH = 118


class _Dumper(yaml.SafeDumper):
    """Writes values that are used twice in full, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def split(text: str) -> list[Document]:
    """The objects of a text, each with the part of the text that is its own. Raises ValueError for bad YAML, and for an object without
    apiVersion and kind."""
    parsed = manifests.documents(text)
    for index, body in enumerate(parsed, 1):
        if not body.get("apiVersion") or not body.get("kind"):
            raise ValueError(f"object {index} has no apiVersion and kind: give both")
    if text.lstrip().startswith(("{", "[", "%")):
        return [Document(body) for body in parsed]
    parts: list[Document] = []
    for part in _START.split(text):
        bodies = manifests.documents(part)
        own = part.strip("\n") if len(bodies) == 1 and not str(_root(part).get("kind", "")).endswith("List") else ""
        parts += [Document(body, own) for body in bodies]
    return parts if [p.body for p in parts] == parsed else [Document(body) for body in parsed]


def _root(part: str) -> dict[str, Any]:
    """The first lines of a document at its top level."""
    found = re.search(r"^kind:\s*(\S+)", part, re.MULTILINE)
    return {"kind": found[1]} if found else {}


def printed(documents: Iterable[Document]) -> str:
    """The documents as one YAML text."""
    return "\n---\n".join("\n".join(_lines(document)) for document in documents) + "\n"


def _lines(document: Document) -> Iterator[str]:
    if document.sources:
        names = ", ".join(map(str, document.sources))
        why = "" if document.losses else ", which has no effect of its own"
        yield from _comment(f"From {names}" if document.body else f"Nothing is left of {names}{why}")
    for loss in document.losses:
        of = f" of {loss.resource}" if len(document.sources) > 1 else ""
        yield from _comment(f"Lost: {loss.path}{of}: {loss.text}." + (f" {loss.fix}" if loss.fix else ""))
    if document.text:
        yield document.text
    elif document.body:
        yield yaml.dump(document.body, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True).rstrip("\n")


def _comment(text: str) -> list[str]:
    one_line = " ".join(text.split())
    return textwrap.wrap(
        one_line, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False, break_long_words=False
    )
