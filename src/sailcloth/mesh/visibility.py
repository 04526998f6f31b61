"""In which namespaces an object is visible (`exportTo`)."""

from __future__ import annotations

from collections.abc import Iterable


def exported_to(export: Iterable[str], namespace: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Namespaces where an object of `namespace` is visible, sorted; `("*",)` for all. `.` is the object's own namespace, `~` none;
    without `export`, uses the mesh's default. Source: istio.md 1.1."""
    export = tuple(export) or default
    if "*" in export:
        return ("*",)
    return tuple(sorted({namespace if e == "." else e for e in export if e != "~"}))


def sees(namespaces: tuple[str, ...], namespace: str) -> bool:
    """Whether an object that is exported to `namespaces` is visible in a namespace."""
    return "*" in namespaces or namespace in namespaces
