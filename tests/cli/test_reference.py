"""docs/cli.md and the list of commands are current; every command has an example, whose options exist."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import typer.core
import typer.main

from sailcloth.cli import examples, main
from tools import cli_reference

ROOT = typer.main.get_command(main.app())
assert isinstance(ROOT, typer.core.TyperGroup)
COMMANDS = dict(cli_reference.commands(ROOT, "sailctl"))


def test_the_pages_are_current() -> None:
    assert cli_reference.PAGE.read_text() == cli_reference.render_page(), "run python tools/cli_reference.py"
    assert cli_reference.LIST.read_text() == cli_reference.render_list(), "run python tools/cli_reference.py"


def test_every_command_has_an_example_and_no_example_is_left_over() -> None:
    assert set(COMMANDS) == set(examples.EXAMPLES)
    for path, command in COMMANDS.items():
        assert f"  {examples.EXAMPLES[path][0]}" in cli_reference.help_of(command, path)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_examples_use_options_that_exist(path: str) -> None:
    for line in examples.EXAMPLES[path]:
        for part in line.replace("<(", "| ").replace(")", "").split("|"):
            words = shlex.split(part.partition(" > ")[0])
            name = next((p for p in sorted(COMMANDS, key=len, reverse=True) if part.strip().startswith(p + " ")), None)
            if name is None:
                continue
            known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)} | {"--help", "--context"}
            assert {w.partition("=")[0] for w in words if w.startswith("-") and w != "-"} <= known, line


def test_the_list_of_commands_is_what_the_framework_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "sailcloth.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert printed.stdout == cli_reference.help_of(ROOT, "sailctl")
    for word in ("proxy-config", "bug-report", "tag", "create-remote-secret", "admin", "install"):
        assert f"\n  {word} " in printed.stdout
    assert "convert-ingress" not in printed.stdout
