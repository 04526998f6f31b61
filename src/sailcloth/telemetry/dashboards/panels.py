"""What dashboards are made of: rows of panels, with expressions in PromQL.

In expressions `$name` is a variable of the dashboard; `$window` is the time that rates look back on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True)
class Query:
    """An expression, and the name of its series (`{{label}}` is replaced)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture. `unit` is Grafana's. `needs` says what traffic it shows something of: http, tcp, errors; empty: any mesh."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "timeseries"
    needs: str = ""


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label."""

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A page of panels. `uid` stays, so that links do."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = field(default=())


def panels(of: Dashboard) -> list[Panel]:
    """All panels of a dashboard."""
    return [panel for row in of.rows for panel in row.panels]


def panel(
    title: str, expression: str, unit: str = "short", legend: str = "", kind: Kind = "timeseries", needs: str = ""
) -> Panel:
    """A panel of one expression."""
    return Panel(title, (Query(expression, legend),), unit, kind, needs)


VERSIONS = "sum(istio_build) by (component, tag)"
QUANTILES = (("P50", "0.50"), ("P90", "0.90"), ("P95", "0.95"), ("P99", "0.99"))


def rate(metric: str, selector: str, by: str = "") -> str:
    """The rate of a counter, summed."""
    grouped = f" by ({by})" if by else ""
    return f"sum(rate({metric}{{{selector}}}[$window])){grouped}"
