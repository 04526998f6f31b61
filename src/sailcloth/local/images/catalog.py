"""The images that a user added, in a file that `sailctl image` edits and the node reads."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import Image, _name, _tag, builtin, resolve

_POLL_S = 0.3


class CatalogError(ValueError):
    """The file cannot be used; the text says why."""


class Catalog:
    """Images of one cluster. The file holds `{reference: {"command": [...], "env": {...}}}`, with `root`
    if it is a root file system; a reference without a tag is for all."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._user_images: dict[str, dict[str, Any]] = {}

    def user_images(self) -> dict[str, dict[str, Any]]:
        """The user's entries. Raises CatalogError for a file that is not one."""
        stamp = self._look()
        if stamp != self._stamp:
            self._user_images = self._read() if stamp is not None else {}
            self._stamp = stamp
        return self._user_images

    def resolve(self, reference: str) -> Image | None:
        """What an image reference stands for: a user's own entry, else one that ships; None if neither."""
        try:
            own = self.user_images()
        except CatalogError:
            own = self._user_images  # what was read before stays
        tagged = f"{_name(reference)}:{_tag(reference)}"
        for known, entry in own.items():
            wanted = f"{_name(known)}:{_tag(known)}" if _tag(known) else ""
            if tagged == wanted or (not wanted and _name(known) == _name(reference)):
                return Image(
                    tuple(entry.get("command") or ()),
                    tuple(entry.get("arguments") or ()),
                    env=dict(entry.get("env") or {}),
                    user_defined=True,
                    paths=tuple(entry.get("paths") or ()),
                    root=str(entry.get("root") or ""),
                    cwd=str(entry.get("cwd") or "/"),
                    user=str(entry.get("user") or ""),
                    stop_signal=str(entry.get("stopSignal") or "SIGTERM"),
                )
        return resolve(reference)

    async def changed(self, seconds: float) -> None:
        """Until the file changes, or the time is over."""
        before, end = self._look(), time.monotonic() + seconds
        while time.monotonic() < end and self._look() == before:  # noqa: ASYNC110 - another process writes the file
            await asyncio.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))

    def add(self, reference: str, command: list[str], env: dict[str, str], paths: Sequence[str] = ()) -> None:
        """Add or replace an entry; `paths` are what the command needs beside what it names. Raises CatalogError."""
        if not command:
            raise CatalogError(f"image {reference}: a command is missing")
        self._write(
            {
                **self.user_images(),
                reference: {"command": command, "env": env, **({"paths": [*paths]} if paths else {})},
            }
        )

    def add_root(self, reference: str, entry: dict[str, Any], env: dict[str, str]) -> None:
        """Add or replace an image with a root file system, as `roots.entry` makes it. Raises CatalogError."""
        self._write({**self.user_images(), reference: {**entry, "env": {**(entry.get("env") or {}), **env}}})

    def remove(self, reference: str) -> bool:
        """Remove an entry; False if there is none."""
        left = dict(self.user_images())
        if left.pop(reference, None) is None:
            return False
        self._write(left)
        return True

    def _look(self) -> tuple[int, int] | None:
        try:
            result = os.stat(self._path)
        except OSError:
            return None
        return result.st_mtime_ns, result.st_ino

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            data = json.loads(Path(self._path).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise CatalogError(f"{self._path}: {error}") from None
        if not isinstance(data, dict) or not all(
            isinstance(e, dict)
            and (isinstance(e.get("root"), str) or (isinstance(e.get("command"), list) and e["command"]))
            for e in data.values()
        ):
            raise CatalogError(
                f'{self._path}: must be of the form {{"NAME": {{"command": ["PROGRAM", "ARGUMENT"]}}}}, or have a "root"'
            )
        return data

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        path = Path(self._path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")
        new.replace(path)


def shipped() -> list[tuple[str, str]]:
    """(pattern of names, what it runs) of the images that ship."""
    return [
        (pattern, " ".join(entry.get("entrypoint", ())) or entry.get("builtin", ""))
        for pattern, entry in builtin.IMAGES
    ]
