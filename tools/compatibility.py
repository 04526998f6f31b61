"""Writes docs/compatibility.md, what differs from Istio, and docs/compatibility-fields.md, every field of the served kinds with
what it does here. Run it after changing `api`.

python tools/compatibility.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import inspect

from sailcloth.api.kinds import LATER_KINDS, LEGACY_KINDS, MESH_KINDS, Kind
from sailcloth.api.support import DIFFERENT, LEGACY_NOTES, NO_EFFECT
from sailcloth.mesh import mesh_config, proxy_configs

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "compatibility.md"
EVERY_FIELD = ROOT / "docs" / "compatibility-fields.md"
SINCE = "0.1"  # the first release; a field that comes later says so in `api.support`
_DEPTH = 9


def structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """The struct types that a field's type may hold."""
    if isinstance(kind, inspect.StructType):
        yield kind
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from structs(each)
    elif isinstance(kind, inspect.VarTupleType):
        yield from structs(kind.item_type)
    elif isinstance(kind, inspect.DictType):
        yield from structs(kind.value_type)
    elif isinstance(kind, inspect.Metadata):
        yield from structs(kind.type)


def fields(kind: Kind) -> Iterator[tuple[str, str, str]]:
    """(path, Python name, description) of every field below `spec`."""

    def walk(found: inspect.Type, path: str) -> Iterator[tuple[str, str, str]]:
        for struct in structs(found):
            for field in struct.fields:
                where = f"{path}.{field.encode_name}"
                yield where, field.name, described(field.type)
                if where.count(".") < _DEPTH:
                    yield from walk(field.type, where)

    (root,) = structs(inspect.type_info(kind.type))
    spec: Any = next(f for f in root.fields if f.name == "spec")
    yield from walk(spec.type, f"{kind.name}.spec")


def described(kind: inspect.Type) -> str:
    """A field's own words."""
    extra = kind.extra_json_schema if isinstance(kind, inspect.Metadata) else None
    return str((extra or {}).get("description", ""))


def general(path: str) -> str:
    """A path with what repeats in it (ports' and subsets' own policies) read as the whole policy."""
    return path.replace(".subsets.trafficPolicy", ".trafficPolicy").replace(".portLevelSettings.", ".", 1)


def judged(path: str) -> tuple[str, str]:
    """(mark, remark) of a field."""
    where = general(path)
    for known, why in NO_EFFECT.items():
        if where == known or where.startswith(known + "."):
            return "no effect", why
    return ("different", DIFFERENT[where]) if where in DIFFERENT else ("yes", "")


def render() -> str:
    """The page."""
    lines = [
        "# Compatibility with Istio's API",
        "",
        "Written by `tools/compatibility.py` from the types in `sailcloth.api`; a test compares it with them, and finds fields that",
        "no code reads. A field that is not listed has the meaning that Istio gives it; all are in",
        "[compatibility-fields.md](compatibility-fields.md).",
        "",
    ]
    for kind in MESH_KINDS:
        rows = [(path, *judged(path)) for path, _, _ in fields(kind)]
        shown = [r for r in rows if r[1] != "yes" and general(r[0]) == r[0]]
        count = len({p for p, _, _ in rows if general(p) == p})
        lines += [f"## {kind.name} ({', '.join(kind.versions)})", "", f"{count} fields."]
        tops = [r for r in shown if not any(r[0].startswith(o[0] + ".") and r[1] == o[1] for o in shown)]
        if tops:
            lines += ["", "| field | here | remark |", "|---|---|---|"]
            lines += [f"| `{path.partition('.')[2]}` | {mark} | {why} |" for path, mark, why in tops]
        lines.append("")
    lines += [
        "## MeshConfig",
        "",
        "In effect; `sailctl` and the control plane name any other option that a text contains.",
        "",
    ]
    lines += [f"* options: {_listed(mesh_config.READ)}"]
    lines += [f"* `defaultConfig`, annotation `proxy.istio.io/config`: {_listed(proxy_configs.READ)}", ""]
    old = ", ".join(k.name for k in LEGACY_KINDS)
    lines += ["## Kinds of Istio 1.0 to 1.5", "", f"{old}: converted to the kinds of today, service by service.", ""]
    lines += [f"* {text}" for text in LEGACY_NOTES] + [""]
    names = ", ".join(k.name for k in LATER_KINDS)
    lines += ["## Not served yet", "", f"{names}: judged by validation, and served when they are enforced.", ""]
    return "\n".join(lines)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def render_fields() -> str:
    """The page of every field."""
    lines = [
        "# Every field",
        "",
        "Written by `tools/compatibility.py`. `portLevelSettings` and a subset's `trafficPolicy` are as the",
    ]
    lines += ["`trafficPolicy` around them. What differs is explained in [compatibility.md](compatibility.md).", ""]
    for kind in MESH_KINDS:
        rows = {path: judged(path) for path, _, _ in fields(kind) if general(path) == path}
        lines += [f"## {kind.name}", "", "| field | here | since | difference from Istio |", "|---|---|---|---|"]
        for path, (mark, why) in rows.items():
            since = "" if mark == "no effect" else SINCE
            lines.append(f"| `{path.partition('.')[2]}` | {mark} | {since} | {why} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    for target, made in ((TARGET, render()), (EVERY_FIELD, render_fields())):
        if "--check" in sys.argv:
            if not target.exists() or target.read_text() != made:
                sys.exit(f"{target.relative_to(ROOT)} is not up to date")
            continue
        target.write_text(made)
        print(f"{target.relative_to(ROOT)} written", file=sys.stderr)
