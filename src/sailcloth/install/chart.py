"""A chart: what it installs, as nodes by file, and the release that it is rendered for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import template as t


@dataclass(frozen=True)
class Chart:
    """One chart. The file `defaults/NAME.yaml` beside this module has its values with comments."""

    name: str
    description: str
    files: Mapping[str, tuple[t.Node, ...]]  # documents by file of `templates/`
    notes: str  # what to do next
    checks: tuple[t.Check, ...] = ()
    open_values: frozenset[str] = field(default_factory=frozenset)  # paths below which users write what they want
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # further words of the schema, by path


@dataclass(frozen=True)
class Release:
    """A chart's installation: its name, its namespace, and the values, defaults included."""

    name: str
    namespace: str
    values: Mapping[str, Any]
