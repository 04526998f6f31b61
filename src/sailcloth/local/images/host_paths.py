"""The host paths that a user's program needs although they are masked in pods, such as parts of home directories."""

from __future__ import annotations

import os
from collections.abc import Iterable

_LINKS = 16


def required(command: Iterable[str], more: Iterable[str] = (), own: Iterable[str] = ()) -> list[str]:
    """The folders that a command's files lie in, and `more`. A file's folder comes whole, because programs read what lies
    beside them; of a program in a `bin` (a virtual environment's, say) it is the folder above; a script's interpreter and
    what a link points to count too. Of folders that are the pod's `own`, such as /tmp, it is only the file."""
    result: dict[str, None] = {}
    for word in command:
        for path in _chain(word):
            folder = path if os.path.isdir(path) else os.path.dirname(path)
            folder = os.path.dirname(folder) if os.path.basename(folder) == "bin" else folder
            result[path if folder in own else folder] = None
    return [p for p in (*result, *map(os.path.abspath, more)) if p != "/"]


def _chain(path: str) -> list[str]:
    """An absolute path that exists, what its links lead to, and the interpreter that it names."""
    out: list[str] = []
    while os.path.isabs(path) and os.path.exists(path) and path not in out and len(out) < _LINKS:
        out.append(path)
        if os.path.islink(path):
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        else:
            path = _interpreter(path)
    return out


def _interpreter(path: str) -> str:
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return ""
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError:
        return ""
    words = head.partition(b"\n")[0][2:].split() if head.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""
