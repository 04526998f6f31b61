"""Reads the manifests that commands get by `-f`; what is wrong with one ends the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import output

if TYPE_CHECKING:
    from sailcloth.api.meta import Key, Object


def read(files: list[Path], notes: bool = True) -> tuple[list[tuple[Key, Object]], list[dict[str, Any]]]:
    """The objects that the mesh knows, and all documents, of files and of directories' YAML files; `-` is standard input.
    Findings go to the error output: warnings and, with `notes`, what the mesh does not read; an error ends the command."""
    from sailcloth.analysis import findings, manifests

    objects: list[tuple[Key, Object]] = []
    documents: list[dict[str, Any]] = []
    for path, text in texts(files):
        try:
            found = manifests.documents(text)
            result, unreadable = manifests.load([text])
        except ValueError as error:
            output.fail(f"{path}: {error}", output.DATA)
        judged = findings.of_documents(found)
        shown = ("Warning", "Info") if notes else ("Warning",)
        for finding in (f for f in judged if f.severity in shown):
            print(f"{path}: {finding}", file=sys.stderr)
        for finding in (*unreadable, *(f for f in judged if f.severity == "Error")):
            output.fail(f"{path}: {finding}", output.DATA)
        objects += result
        documents += found
    return objects, documents


def texts(files: list[Path]) -> list[tuple[Path, str]]:
    """(path, text) of files and of directories' YAML files; `-` is standard input. One that cannot be read ends the command."""
    found = []
    for path in files:
        if str(path) == "-":
            found.append((path, sys.stdin.read()))
            continue
        for one in sorted(path.rglob("*.y*ml")) if path.is_dir() else [path]:
            try:
                found.append((one, one.read_text()))
            except (OSError, UnicodeDecodeError) as error:
                output.fail(f"{one}: {getattr(error, 'strerror', None) or error}", output.DATA)
    return found
