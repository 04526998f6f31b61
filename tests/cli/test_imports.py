"""What a command pays for before it does anything: modules, not milliseconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer.main

from sailcloth.cli import main

HEAVY = {"aiohttp", "asyncio", "cryptography", "google.protobuf", "grpc", "msgspec", "orjson", "ssl", "yaml"}
FRAMEWORK = {"pydantic", "rich", "typer"}
REPORT = (
    "import atexit, sys\n"
    "atexit.register(lambda: print('\\n' + ' '.join(sys.modules), flush=True))\n"
    "from sailcloth.cli.__main__ import run\n"
    "run()\n"
)


def imported(*arguments: str, **environment: str) -> tuple[str, set[str]]:
    """(what a command prints, the modules that it has imported)."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    printed, _, modules = done.stdout.rstrip().rpartition("\n")
    return printed, set(modules.split())


def test_version_needs_nothing() -> None:
    printed, modules = imported("version")
    assert printed.startswith("client version: ")
    assert not modules & (HEAVY | FRAMEWORK)


def test_the_list_of_commands_needs_nothing() -> None:
    for arguments in ((), ("--help",), ("-h",), ("help",)):
        printed, modules = imported(*arguments)
        assert "\n  proxy-status " in printed
        assert not modules & (HEAVY | FRAMEWORK)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("up", "--help"), ("x", "wait", "--help"), ("version", "-o", "json")]
)
def test_help_imports_no_client(arguments: tuple[str, ...]) -> None:
    printed, modules = imported(*arguments)
    assert printed
    assert not modules & HEAVY


def test_completion_imports_no_client() -> None:
    words = {"_SAILCTL_COMPLETE": "complete_bash", "COMP_WORDS": "sailctl proxy-", "COMP_CWORD": "1"}
    printed, modules = imported(**words)
    assert printed.split() == ["proxy-config", "proxy-status"]
    assert not modules & (HEAVY | {"rich"})


def test_a_command_imports_its_own_module_only() -> None:
    _, modules = imported("status", "--help")
    assert {m for m in modules if m.startswith("sailcloth.cli.")} & {f"sailcloth.cli.{m}" for m in main.COMMANDS} == {
        "sailcloth.cli.lifecycle"
    }


def test_every_word_is_registered_by_the_module_that_is_said_to() -> None:
    words = [word for words in main.COMMANDS.values() for word in words]
    assert sorted(_names(main.app())) == sorted(words)
    for module, own in main.COMMANDS.items():
        for word in own:
            assert word in _names(main.app(word)), f"{module} does not register {word}"


def _names(app: typer.Typer) -> list[str]:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return list(command.commands)
