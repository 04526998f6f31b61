"""Root file systems that images are unpacked to: one folder each, beside the cluster's state.

A folder in use is never touched: what no image refers to any more goes when a cluster starts, before there are pods.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import archive
from .layers import ArchiveError, Tree

_MIB = 1 << 20


def entry(
    store: Path, source: Path, reference: str, command: list[str], max_mib: int
) -> tuple[dict[str, Any], list[str]]:
    """A catalog's entry for the image at `source`, unpacked below `store` if it is an archive; and what was left out of it.

    A command given here replaces the image's own. Raises ArchiveError, OSError.
    """
    if not archive.is_archive(source):
        if not source.is_dir() or not any((source / name).is_dir() for name in ("bin", "usr", "etc")):
            raise ArchiveError(
                f"{source} is no root file system (it has no bin, usr or etc), no OCI image layout and no archive"
            )
        return {"root": str(source.resolve()), "command": command}, []
    folder = store / secrets.token_hex(6)
    root = folder / "root"
    root.mkdir(mode=0o755, parents=True)
    folder.chmod(0o700)
    tree = Tree(root, max_mib * _MIB)
    try:
        result = archive.unpack(source, reference, tree)
    except BaseException as error:
        remove(folder)
        if isinstance(error, (KeyError, TypeError, AttributeError, RecursionError)) or (
            isinstance(error, ValueError) and not isinstance(error, ArchiveError)
        ):
            raise ArchiveError(f"{source} is no image archive that can be understood: {error}") from None
        raise
    created: dict[str, Any] = {
        "root": str(root),
        "command": command or list(result.entrypoint),
        "arguments": [] if command else list(result.cmd),
        "env": result.env,
        "cwd": result.cwd,
        "user": result.user,
        "stopSignal": result.stop_signal,
    }
    return {k: v for k, v in created.items() if v}, tree.skipped


def remove(folder: Path) -> None:
    """Remove a folder, whatever the modes of the folders in it."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def delete_unused(store: Path, roots: Iterable[str]) -> None:
    """Remove what none of the roots in use lies in."""
    used = {Path(r).parent.name for r in roots if Path(r).parent.parent == store}
    for folder in store.iterdir() if store.is_dir() else ():
        if folder.name not in used:
            remove(folder)
