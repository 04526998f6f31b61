"""The node's folders: puts the plugin into them, keeps it chained, and takes it out again.

Looks at the folder once a second instead of using inotify: it has a few small files, and what replaces or mounts over the folder is seen as
well. A file is replaced as a whole, never written in place, for the runtime reads it at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from . import chaining

log = logging.getLogger(__name__)
_POLL_S = 1.0
_SAVED = ".before-istio-cni"  # an ending that no runtime reads


class Host:
    """`configurations` and `programs`: the folders of the runtime, as they are mounted. `program`: the plugin in the image."""

    def __init__(self, configurations: Path, programs: Path, program: Path, own: chaining.Object) -> None:
        self._configurations, self._program, self._own = configurations, program, own
        self._target = programs / chaining.TYPE
        self.problem = "it has not looked yet"  # why the plugin is not installed; empty if it is

    async def keep_installed(self) -> None:
        """Install the plugin, and do it again whenever somebody changes the configuration, until cancelled."""
        while True:
            try:
                problem = await asyncio.to_thread(self.install)
            except (OSError, ValueError) as error:
                problem = str(error)
            if problem != self.problem:
                log.info("%s", problem or f"the plugin is installed in {self._configurations}")
            self.problem = problem
            await asyncio.sleep(_POLL_S)

    def install(self) -> str:
        """Install what is missing. Returns why that is not possible yet. Raises OSError and ValueError."""
        content = self._program.read_bytes()
        if not self._target.exists() or self._target.read_bytes() != content:
            _replace(self._target, content, 0o755)
        names = sorted(p.name for p in self._configurations.iterdir())
        chosen = chaining.first(names)
        if not chosen:
            return f"there is no network configuration in {self._configurations} yet: the cluster's network has to write it"
        for name in names:
            if Path(name).stem != Path(chosen).stem and name.endswith(chaining.SUFFIXES) and not name.startswith("."):
                with contextlib.suppress(ValueError):  # not read by the runtime
                    self._unchain(self._configurations / name)
        self._chain(self._configurations / chosen)
        return ""

    def remove(self) -> None:
        """Take the plugin out of all configurations, then the program, so that a configuration never names what is missing."""
        for path in sorted(self._configurations.iterdir()):
            if path.name.endswith(chaining.SUFFIXES) and not path.name.startswith("."):
                with contextlib.suppress(ValueError):
                    self._unchain(path)
        self._target.unlink(missing_ok=True)

    def _chain(self, path: Path) -> None:
        text = path.read_text()
        try:
            wanted = chaining.chained(text, self._own)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
        if text == wanted:
            return
        single = path.suffix == ".conf"
        if chaining.unchained(text) == text:
            _replace(path.with_name(path.name + _SAVED), text.encode(), path.stat().st_mode & 0o777)
        _replace(path.with_suffix(".conflist") if single else path, wanted.encode(), path.stat().st_mode & 0o777)
        if single:
            path.unlink()
        log.info("chained into %s", path)

    def _unchain(self, path: Path) -> None:
        text = path.read_text()
        bare = chaining.unchained(text)
        for original in (path, path.with_suffix(".conf")):
            saved = original.with_name(original.name + _SAVED)
            if saved.exists():
                if bare != text and chaining.unchained(chaining.chained(saved.read_text(), self._own)) == bare:
                    saved.replace(original)  # as it was, to the byte
                    if original != path:
                        path.unlink()
                    return
                saved.unlink()  # of a configuration that somebody has replaced since
        if bare != text:
            _replace(path, bare.encode(), path.stat().st_mode & 0o777)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
