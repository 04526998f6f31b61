"""Commands of istioctl for what this project does not have yet: each says so in one line and ends with 64.

A command leaves this module with the issue that brings what it needs. Must not do half of anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from . import output

_AMBIENT = (
    "ambient mode is not there yet; workloads join the mesh by a sidecar (label a namespace istio-injection=enabled)"
)
_WORDS = {
    "operator": "there is no operator, as in Istio since 1.24; `sailctl install` installs on Kubernetes",
    "waypoint": _AMBIENT,
    "ztunnel-config": _AMBIENT,
}
ALIASES = {"zc": "ztunnel-config"}
_HIDDEN = (*ALIASES, "operator")
_CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = {word: _command(word, reason) for word, reason in _WORDS.items()}
    for word, command in (*commands.items(), *((alias, commands[word]) for alias, word in ALIASES.items())):
        reason = _WORDS[ALIASES.get(word, word)]
        app.command(
            word,
            help=f"Not there yet: {reason}.",
            hidden=word in _HIDDEN,
            rich_help_panel="Installation",
            context_settings=_CONTEXT,
        )(command)


def _command(word: str, reason: str) -> Callable[..., None]:
    def refuse(arguments: Annotated[list[str] | None, typer.Argument(help="Ignored.")] = None) -> None:
        output.fail(f"{word}: {reason}", output.USAGE)

    return refuse
