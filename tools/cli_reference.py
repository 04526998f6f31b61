"""Writes docs/cli.md, every command with its help, and the list of commands that `sailctl --help` prints without starting the
framework. Run it after changing a command.

python tools/cli_reference.py [--check]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import typer.core
import typer.main

os.environ["COLUMNS"] = "110"
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cli.md"
LIST = ROOT / "src" / "sailcloth" / "cli" / "help_text.py"
_ALIASES = ("sailctl experimental", "sailctl dash", "sailctl d", "sailctl authz")
_HEAD = """# Commands

`sailctl` has istioctl's commands with its arguments, columns and exit codes, and its own. Exit codes: 0 done, 1 failed, 64 wrong
arguments, 65 wrong input, 79 `analyze` has found something. `-n`, `--kubeconfig`, `--context` and `--istioNamespace` may stand before or
behind a command. Commands under "Of Istio 1.0 to 1.5" are for documents of that time, and not in `sailctl --help`. This page is written
by `python tools/cli_reference.py`.
"""


def help_of(command: typer.core.TyperCommand | typer.core.TyperGroup, path: str) -> str:
    """A command's help as a terminal of 100 columns shows it."""
    context = command.context_class(command, info_name=path, terminal_width=100, help_option_names=["-h", "--help"])
    return command.get_help(context).rstrip() + "\n"


def commands(group: typer.core.TyperGroup, path: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command by its path, without other names of the same one."""
    seen: set[object] = set()
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            if f"{path} {name}" not in _ALIASES:
                yield from commands(command, f"{path} {name}")
        elif isinstance(command, typer.core.TyperCommand) and not (command.hidden and _same(command, group)):
            assert command not in seen
            yield f"{path} {name}", command


def _same(command: typer.core.TyperCommand, group: typer.core.TyperGroup) -> bool:
    """Whether a command has another name in its group, which is shown."""
    return any(
        other is not command and not other.hidden and _code(other) is _code(command)
        for other in group.commands.values()
        if isinstance(other, typer.core.TyperCommand)
    )


def _code(command: typer.core.TyperCommand) -> object:
    return getattr(command.callback, "__wrapped__", command.callback)


def render_page() -> str:
    """docs/cli.md."""
    from sailcloth.cli import main

    parts = [_HEAD]
    for path, command in commands(_root(main), "sailctl"):
        parts.append(f"\n## {path}\n\n```text\n{help_of(command, path)}```\n")
    return "".join(parts)


def render_list() -> str:
    """The module with the list of commands."""
    from sailcloth.cli import main

    text = help_of(_root(main), "sailctl")
    assert '"""' not in text
    doc = '"""What `sailctl --help` prints; written by tools/cli_reference.py."""'
    escaped = text.replace("\\", "\\\\")
    return f'{doc}\n\nTEXT = """\\\n{escaped}"""\n'


def _root(main: object) -> typer.core.TyperGroup:
    group = typer.main.get_command(main.app())  # type: ignore[attr-defined]
    assert isinstance(group, typer.core.TyperGroup)
    return group


if __name__ == "__main__":
    outputs = {PAGE: render_page(), LIST: render_list()}
    if "--check" in sys.argv:
        stale = [str(p.relative_to(ROOT)) for p, text in outputs.items() if not p.exists() or p.read_text() != text]
        sys.exit(f"not current: {', '.join(stale)}; run python tools/cli_reference.py" if stale else 0)
    for target, content in outputs.items():
        target.write_text(content)
