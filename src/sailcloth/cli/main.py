"""Entry point of `sailctl` and `kubectl sail`.

Each command group lives in a module of its own with a `register(app)` function; those modules import
nothing heavy at import time, because the start-up time of every command is theirs.
"""

from __future__ import annotations

import importlib
import os
import sys

import typer

GROUPS = ("lifecycle", "proxy", "ca", "wait", "experimental", "dashboard", "inject", "image", "export", "complete")

app = typer.Typer(
    name="sailctl",
    help="Sailcloth: an Istio-compatible service mesh that runs anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _group in GROUPS:
    importlib.import_module(f"sailcloth.cli.{_group}").register(app)


def run() -> None:
    """Runs the app; a closed pipe (`| head`) ends quietly."""
    try:
        app(prog_name="kubectl sail" if os.path.basename(sys.argv[0]) == "kubectl-sail" else "sailctl")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
