"""Entry point of `sailctl` and `kubectl sail`.

Each group of commands is a module with a `register(app)` function. A command pays for its own module only: the others are imported
for completion and unknown words. Modules import nothing heavy at their top, because completion pays for all of them. The list of all
commands is a file (`help_text`), because it is asked for most often.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
import typer.core

from . import examples, output
from .go_flags import GoFlagsCommand, reordered

_SHORT = 200  # characters of a command's line in a list; the terminal wraps it
_WRONG_ARGUMENTS = 2  # the framework's exit code, for which istioctl has 64
_SHORT_GROUPS = {"experimental": "x", "dash": "dashboard", "d": "dashboard", "zc": "ztunnel-config", "authz": "x authz"}

# The words that each module registers, in the order of the help.
COMMANDS = {
    "lifecycle": ("up", "down", "status", "demo", "doctor"),
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
    "version": ("version", "options"),
    "tags": ("tag",),
    "admin": ("admin",),
    "bug_report": ("bug-report",),
    "remote": ("create-remote-secret", "remote-clusters"),
    "legacy": (
        "get",
        "create",
        "replace",
        "delete",
        "register",
        "deregister",
        "authn",
        "authz",
        "convert-ingress",
    ),
    "install": ("install", "apply", "upgrade", "uninstall", "verify-install"),
    "manifest": ("manifest", "profile"),
    "later": (
        "operator",
        "waypoint",
        "ztunnel-config",
        "zc",
    ),
}


def app(word: str = "") -> typer.Typer:
    """The command line: with the group of one command, or with all of them if the word is none."""
    out = typer.Typer(
        name="sailctl",
        help="Sailcloth: an Istio-compatible service mesh that runs anywhere.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # importing rich takes as long as everything else
        add_completion="_SAILCTL_COMPLETE" in os.environ,  # else `completion` prints the scripts
        cls=Sections,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    out.callback()(lambda: None)  # keeps the word of a command that is the only one
    for module in [m for m, words in COMMANDS.items() if word in words] or COMMANDS:
        importlib.import_module(f"sailcloth.cli.{module}").register(out)
    _finish(out, "sailctl")
    return out


class Sections(typer.core.TyperGroup):
    """The list of commands by section."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(0)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                section = str(getattr(command, "rich_help_panel", None) or "Commands")
                sections.setdefault(section, []).append((name, command.get_short_help_str(_SHORT)))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


def _finish(group: typer.Typer, path: str) -> None:
    """Give every command Go's flags and its examples, and hidden names those of the command that they stand for."""
    names = {info.callback: info.name for info in reversed(group.registered_commands) if not info.hidden}
    for command in group.registered_commands:
        command.cls = GoFlagsCommand if command.cls in (None, typer.core.TyperCommand) else command.cls
        name = names.get(command.callback) if command.hidden else command.name
        name = name or command.name
        command.epilog = examples.text(f"{path} {name}")
    for child in group.registered_groups:
        assert child.typer_instance is not None
        child.cls = Sections
        inner = f"{path} {_SHORT_GROUPS.get(child.name or '', child.name) if path == 'sailctl' else child.name}"
        child.epilog = examples.text(inner) if path != "sailctl" or child.name not in ("x", "experimental") else None
        _finish(child.typer_instance, inner)


def run() -> None:
    """Runs the app; a closed pipe (`| head`) ends quietly."""
    try:
        name = "kubectl sail" if os.path.basename(sys.argv[0]) == "kubectl-sail" else "sailctl"
        arguments = sys.argv[1:] if "_SAILCTL_COMPLETE" in os.environ else reordered(sys.argv[1:])
        app(arguments[0] if arguments else "")(arguments, prog_name=name)
    except SystemExit as end:
        sys.exit(output.USAGE if end.code == _WRONG_ARGUMENTS else end.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
