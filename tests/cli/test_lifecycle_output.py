"""What `up`, `status`, `doctor` and `version` print in each form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def sailctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sailcloth.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_structured_output_is_in_the_form_that_was_asked_for(tmp_path: Path, form: str) -> None:
    for arguments in (("version",), ("status", "--state", str(tmp_path)), ("doctor",)):
        out = sailctl(*arguments, "-o", form).stdout
        assert out.lstrip().startswith(("{", "[")) == (form == "json"), out
        assert json.loads(out) if form == "json" else yaml.safe_load(out)


def test_an_unknown_form_is_refused() -> None:
    run = sailctl("version", "-o", "xml")
    assert run.returncode == 64
    assert "use short, json, yaml" in run.stderr


def test_the_unit_runs_up_with_the_options_that_were_given() -> None:
    unit = sailctl("up", "--print-unit", "--state", "/tmp/a b%c", "--http-port", "8080", "--no-bind-swap").stdout
    (command,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert command.endswith('"up" "--state" "/tmp/a b%%c" "--http-port" "8080" "--no-bind-swap"')
    assert "Restart=on-failure" in unit
    assert "Delegate=yes" in unit, "limits of containers need it"


@pytest.mark.parametrize("option", ["--restart", "--print-unit"])
def test_what_watches_over_a_cluster_is_for_the_foreground(option: str) -> None:
    run = sailctl("up", "--detach", option)
    assert run.returncode == 64
    assert "--detach" in run.stderr
