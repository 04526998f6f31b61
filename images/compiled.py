"""Compiles Python modules for an image. A container cannot: its file system is read-only, so that each start would do it anew."""

from __future__ import annotations

import compileall
import py_compile
import sys
from pathlib import Path

# A time would differ from build to build, and the layer with it; who could change a module can change this, too.
_MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH


def compile_modules(folder: Path, place: str, version: str) -> None:
    """Compile all modules in a folder, which has the path `place` in the image, for its version of Python. Does nothing, and says so,
    where this is another version."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        compileall.compile_dir(
            folder, quiet=2, stripdir=folder, prependdir=f"/{place}", invalidation_mode=_MODE, workers=1
        )
    else:
        print(f"{place} is not compiled, which needs Python {version}: containers start some seconds later", flush=True)
