"""Printing: tables like istioctl's, JSON and YAML; colours only on a terminal; errors to stderr with an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

USAGE, DATA, UNAVAILABLE = 64, 65, 69  # sysexits, as istioctl uses them


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Left-aligned columns with five spaces between them, as istioctl prints."""
    lines = [list(columns), *([str(c) for c in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print("     ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def structured(value: Any, form: str) -> None:
    """`json` or `yaml`."""
    if form == "yaml":
        import yaml

        yaml.safe_dump(value, sys.stdout, sort_keys=False)
    else:
        json.dump(value, sys.stdout, indent=2)
        print()


def version() -> None:
    """Print the version of this program."""
    from sailcloth import __version__

    print(f"client version: {__version__}")


def warn(message: str) -> None:
    """Print a warning on the error output."""
    print(f"Warning: {message}", file=sys.stderr)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print an error, and exit."""
    prefix = "\x1b[31mError:\x1b[0m" if sys.stderr.isatty() else "Error:"
    print(f"{prefix} {message}", file=sys.stderr)
    raise SystemExit(code)


def check_choice(option: str, value: str, *choices: str) -> None:
    """Print an error and exit if the value of an option is none of its choices."""
    if value not in choices:
        fail(f"unknown {option} {value!r}; use {', '.join(choices[:-1])} or {choices[-1]}", USAGE)
