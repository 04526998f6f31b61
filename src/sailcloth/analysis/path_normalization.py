"""Normalizes request paths as Envoy's connection manager does, by the mesh's `pathNormalization`."""

from __future__ import annotations

import re

_UNRESERVED = re.compile(r"%([0-9a-fA-F]{2})")


def normalize(path: str, mode: str) -> str:
    """The path that Envoy's filters match. `mode`: NONE, BASE, DEFAULT, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES."""
    plain, mark, query = path.partition("?")
    if mode == "DECODE_AND_MERGE_SLASHES":
        plain = re.sub("%2f", "/", plain, flags=re.IGNORECASE)
        plain = re.sub("%5c", r"\\", plain, flags=re.IGNORECASE)
    if mode != "NONE":
        plain = _canonical(plain)
    if mode in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"):
        plain = re.sub("/{2,}", "/", plain)
    return plain + mark + query


def _canonical(path: str) -> str:
    r"""RFC 3986: decodes unreserved characters and removes dot segments. `\` counts as `/`, as in browsers."""
    path = _UNRESERVED.sub(_decode, path.replace("\\", "/"))
    out: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == ".":
            out += [""] if last else []
        elif segment == "..":
            out = out[:-1]
            out += [""] if last else []
        else:
            out.append(segment)
    return "/" + "/".join(out)


def _decode(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else match[0]
