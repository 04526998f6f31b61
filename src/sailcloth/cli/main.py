"""Entry point of `sailctl` and `kubectl sail`.

Each group of commands is a module with a `register(app)` function. A command pays for its own module only: the others are imported
for help, completion and unknown words. Modules import nothing heavy at their top, because help and completion pay for all of them.
"""

from __future__ import annotations

import importlib
import os
import sys

import typer

# The words that each module registers, in the order of the help.
COMMANDS = {
    "lifecycle": ("up", "down", "status", "demo", "doctor", "version"),
    "ca": ("ca",),
    "proxy": ("proxy-config", "pc", "proxy-status", "ps"),
    "traffic": ("graph", "top"),
    "observe": ("logs", "tap"),
    "wait": ("wait",),
    "experimental": ("x", "experimental"),
    "dashboard": ("dashboard", "dash", "d"),
    "inject": ("kube-inject",),
    "image": ("image",),
    "export": ("export",),
    "analyze": ("analyze",),
    "validate": ("validate", "v"),
    "check": ("check",),
    "mcp_server": ("mcp",),
    "complete": ("completion",),
}


def app(word: str = "") -> typer.Typer:
    """The command line: with the group of one command, or with all of them if the word is none."""
    out = typer.Typer(
        name="sailctl",
        help="Sailcloth: an Istio-compatible service mesh that runs anywhere.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    out.callback()(lambda: None)  # keeps the word of a command that is the only one
    for module in [m for m, words in COMMANDS.items() if word in words] or COMMANDS:
        importlib.import_module(f"sailcloth.cli.{module}").register(out)
    return out


def run() -> None:
    """Runs the app; a closed pipe (`| head`) ends quietly."""
    try:
        name = "kubectl sail" if os.path.basename(sys.argv[0]) == "kubectl-sail" else "sailctl"
        app(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name=name)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
