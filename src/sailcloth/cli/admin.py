"""`sailctl admin log`: the control plane's log levels, by scope."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import dumps, output
from .cluster_options import Form, Kubeconfig, form

Object = dict[str, Any]
_START = "info"  # the level that the process starts with


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Look into the control plane, and set how much it logs.", no_args_is_help=True)
    group.command("log")(log)
    group.command("l", hidden=True)(log)
    app.add_typer(group, name="admin", rich_help_panel="Control plane")


def log(
    pod: Annotated[str, typer.Argument(help="Accepted, as istioctl's: there is one control plane.")] = "",
    level: Annotated[
        str, typer.Option("--level", help="SCOPE:LEVEL[,…] or LEVEL for all: none, fatal, error, warn, info, debug.")
    ] = "",
    reset: Annotated[bool, typer.Option("-r", "--reset", help="All scopes back to info.")] = False,
    out: Form = "short",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the control plane's log scopes and their levels, or set levels."""
    chosen = form(out)
    if level and reset:
        output.fail("give --level or --reset, not both", output.USAGE)
    scopes = dumps.run(_scopes(kubeconfig))
    try:
        wanted = levels(_START if reset else level, [s["name"] for s in scopes])
    except ValueError as error:
        output.fail(str(error), output.USAGE)
    if wanted:
        scopes = dumps.run(_set(wanted, kubeconfig))
    if chosen:
        output.structured(scopes, chosen)
        return
    fields = ("name", "description", "output_level", "stack_trace_level")
    output.table(
        ["ACTIVE SCOPE", "DESCRIPTION", "LOG LEVEL", "STACK TRACE LEVEL"], [[s[f] for f in fields] for s in scopes]
    )


async def _scopes(kubeconfig: str) -> list[Object]:
    from .cluster import debug

    return list(await debug(kubeconfig, "/scopej/"))


async def _set(wanted: dict[str, str], kubeconfig: str) -> list[Object]:
    from .cluster import client, control_plane

    async with client(kubeconfig) as api:
        for name, level in wanted.items():
            await control_plane(api, f"/scopej/{name}", "PUT", {"name": name, "output_level": level})
    return await _scopes(kubeconfig)


def levels(text: str, scopes: list[str]) -> dict[str, str]:
    """The level of each scope that `--level` names; a level alone is for all. Raises ValueError for an unknown scope or level."""
    wanted: dict[str, str] = {}
    known = ("none", "fatal", "error", "warn", "info", "debug")
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, colon, level = part.rpartition(":")
        if level not in known:
            raise ValueError(f"--level {part!r}: unknown level {level!r}; use {', '.join(known)}")
        if colon and name not in (*scopes, "all"):
            raise ValueError(f"--level {part!r}: unknown scope {name!r}; known are {', '.join(scopes)}")
        wanted |= dict.fromkeys(scopes if not colon or name == "all" else [name], level)
    return wanted
