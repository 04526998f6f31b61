"""State directories of the clusters that tests start. However a run ends, no cluster outlives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .state_directories import VARIABLE

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # its threads would start again in a forked child


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-goldens", action="store_true", help="write the expected files of tests anew")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")  # of pytest-xdist


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="sc-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what an interrupted worker could not stop."""
    if _is_worker(config):
        return
    directories = Path(os.environ.pop(VARIABLE))
    for state in directories.iterdir():
        subprocess.run(
            [sys.executable, "-m", "sailcloth.cli", "down", "--state", str(state)],
            capture_output=True,
            check=False,
        )
    shutil.rmtree(directories, ignore_errors=True)
