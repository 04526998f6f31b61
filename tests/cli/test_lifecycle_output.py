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
    assert "use text, json or yaml" in run.stderr
