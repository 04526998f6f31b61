"""Shell completion: the script for each shell, and live names from the cluster.

Completion must never print an error or wait long: what cannot be found quickly is not offered.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from . import output

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_PATIENCE_S = 1.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion")(completion)


def completion(shell: Annotated[str, typer.Argument(help="One of: " + ", ".join(SHELLS))]) -> None:
    """Print the completion script of a shell: `source <(sailctl completion bash)`."""
    if shell not in SHELLS:
        output.fail(f"unknown shell {shell!r}; use {', '.join(SHELLS)}", output.USAGE)
    from .main import app

    os.environ["_SAILCTL_COMPLETE"] = (
        f"source_{shell}"  # the way a shell asks a command of this framework for its script
    )
    app()(prog_name="sailctl", args=[])


def pods(incomplete: str) -> list[str]:
    """Pods of all namespaces as POD.NAMESPACE that begin with what was typed."""
    import asyncio

    try:
        names = asyncio.run(asyncio.wait_for(_pods(), _PATIENCE_S))
    except Exception:
        return []
    return [n for n in names if n.startswith(incomplete)]


async def _pods() -> list[str]:
    from sailcloth.kube.resources import PODS

    from .cluster import client

    async with client() as api:
        items, _ = await api.list(PODS)
    return sorted(f"{p['metadata']['name']}.{p['metadata']['namespace']}" for p in items)
