"""Static programs that an image brings for the node, where no Python is: the folders of `images/programs`, in Go without modules of others.

The same source and version of Go give the same bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import BuildError

FOLDER = Path(__file__).parent / "programs"


def go() -> str | None:
    """The Go command, also where it is installed but not on the search path."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")


def build(name: str, target: Path) -> None:
    """Build one program. Raises BuildError."""
    command = go()
    if command is None:
        raise BuildError(f"there is no `go` to build {name} with: install Go 1.22 or newer")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false -trimpath"}
    build = [command, "build", "-ldflags", "-s -w -buildid=", "-o", str(target), "."]
    done = subprocess.run(build, cwd=FOLDER / name, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{name} was not built:\n{done.stdout}{done.stderr}")
