"""The console's page: its own tests, and every page of it in a browser against a server with fixtures."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSOLE = ROOT / "console"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
needs_packages = pytest.mark.skipif(
    not (CONSOLE / "node_modules").is_dir() or not shutil.which("npm"), reason="no Node or no `npm ci` in console/"
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")


def npm(*arguments: str, seconds: float = 300) -> None:
    environment = {**os.environ, "CI": "true", **({"CHROMIUM": CHROMIUM} if CHROMIUM else {})}
    done = subprocess.run(
        ["npm", *arguments], cwd=CONSOLE, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@needs_packages
def test_the_logic_of_the_page() -> None:
    npm("test")


@needs_packages
@needs_browser
@pytest.mark.timeout(500)
def test_every_page_in_a_browser() -> None:
    if not (ROOT / "src" / "sailcloth" / "console" / "page" / "index.html").is_file():
        npm("run", "build")
    npm("run", "e2e", seconds=450)
