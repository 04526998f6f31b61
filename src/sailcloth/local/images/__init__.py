"""Images: names that stand for local commands, or for root file systems. There is no registry and nothing is pulled."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import sailcloth
import sailcloth_samples

from . import builtin

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where containers find programs."""
_PACKAGES = str(Path(sailcloth.__file__).parents[1])


@dataclass(frozen=True)
class Image:
    """Like an image's own configuration: `entrypoint` is replaced by a container's command, `cmd` by its args."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    builtin: str = ""  # handled by the node itself: `proxy`
    # Programs that the image has and the host has not
    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    user_defined: bool = False  # added by the user
    paths: tuple[str, ...] = ()  # of the host, that its programs need besides those that its command names
    root: str = ""  # folder of the host that is its root file system; empty: the host's own
    cwd: str = "/"
    user: str = ""  # as images name one: name or number, and a group after a colon
    stop_signal: str = "SIGTERM"


def _name(reference: str) -> str:
    """A reference without registry defaults, tag and digest."""
    name = reference.split("@", 1)[0]
    head, _, tail = name.rpartition("/")
    name = f"{head}/{tail.split(':', 1)[0]}" if head else tail.split(":", 1)[0]
    name = re.sub(r"^registry\.istio\.io/[a-z]+/", "istio/", name)  # the mesh's registry has no owner in its paths
    return re.sub(r"^((index\.)?docker\.io/)?(library/)?", "", name)


def _tag(reference: str) -> str:
    tail = reference.split("@", 1)[0].rpartition("/")[2]
    return tail.partition(":")[2]


def programs() -> Path:
    """Folder of the sample programs."""
    return sailcloth_samples.ROOT / "programs"


@cache
def resolve(reference: str) -> Image | None:
    """The local stand-in for an image reference; None if there is none."""
    name = _name(reference)
    for pattern, entry in builtin.IMAGES:
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        groups = {"tag": _tag(reference), **{k: v for k, v in match.groupdict().items() if v}}

        def fill(text: str, groups: dict[str, str] = groups) -> str:
            known = {"python": sys.executable, "programs": str(programs()), "packages": _PACKAGES, **groups}
            return text.format(**known)

        commands = {k: tuple(fill(t) for t in v) for k, v in entry.get("commands", {}).items()}
        real = shutil.which(entry["real"][0], path=PATH) if "real" in entry else None
        if real is not None:
            commands = dict.fromkeys(commands, (real,))
        return Image(
            (real,) if real is not None else tuple(fill(t) for t in entry.get("entrypoint", ())),
            tuple(fill(t) for t in (entry["real"][1:] if real is not None else entry.get("cmd", ()))),
            {k: fill(v) for k, v in entry.get("env", {}).items()},
            entry.get("builtin", ""),
            commands,
            paths=tuple(fill(p) for p in entry.get("paths", ())),
        )
    return None


def argv(image: Image, command: list[str] | None, args: list[str] | None) -> list[str]:
    """What to run: a command drops the image's own entrypoint and arguments, arguments replace the image's own."""
    if command:
        return command_line(image, [*command, *(args or ())])
    return command_line(image, [*image.entrypoint, *(args or image.cmd)])


def command_line(image: Image, words: list[str]) -> list[str]:
    """A command inside the image, as it is run here: a program that only the image has is replaced by its stand-in."""
    return [*image.commands.get(words[0], words[:1]), *words[1:]] if words else []
