"""The group `x`: commands that istioctl keeps there, and `scope`."""

from __future__ import annotations

import typer

from . import (
    analyze,
    authz,
    debug_commands,
    describe,
    injection,
    legacy,
    precheck,
    proxy,
    remote,
    trace_change,
    validate,
    version,
    workload,
)
from .convert.command import convert
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
    group.command("convert")(convert)
    group.command("proxy-status")(proxy.proxy_status)
    group.command("ps", hidden=True)(proxy.proxy_status)
    group.command("version")(version.remote_version)
    group.command("create-remote-secret")(remote.create_remote_secret)
    group.command("remote-clusters")(remote.remote_clusters)
    injection.register(group)
    precheck.register(group)
    debug_commands.register(group)
    legacy.register_experimental(group)
    workload.register(group)
    authz.register(group)
    describe.register(group)
    trace_change.register(group)
    analyze.register(group)
    validate.register(group)
    app.add_typer(group, name="x", rich_help_panel="Proxies")
    app.add_typer(group, name="experimental", hidden=True)
