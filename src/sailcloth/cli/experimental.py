"""The group `x`: commands that istioctl keeps there, and `scope`."""

from __future__ import annotations

import typer

from . import analyze, authz, describe, trace_change, validate, workload
from .diff import diff
from .explain import explain
from .scope import scope
from .traffic import metrics
from .undo import undo
from .wait import wait


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Commands that istioctl keeps under `x`, and suggested Sidecar objects.", no_args_is_help=True
    )
    group.command("wait")(wait)
    group.command("scope")(scope)
    group.command("metrics")(metrics)
    group.command("explain")(explain)
    group.command("diff")(diff)
    group.command("undo")(undo)
    workload.register(group)
    authz.register(group)
    describe.register(group)
    trace_change.register(group)
    analyze.register(group)
    validate.register(group)
    app.add_typer(group, name="x", rich_help_panel="Proxies")
    app.add_typer(group, name="experimental", hidden=True)
