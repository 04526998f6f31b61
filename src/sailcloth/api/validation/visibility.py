"""exportTo, and references to objects in other namespaces."""

from __future__ import annotations

from collections.abc import Sequence

from . import codes, hosts
from .report import Report


def check_export(
    report: Report, path: str, export_to: Sequence[str], none_allowed: bool = False, private: bool = False
) -> None:
    """`*`, `.` or namespaces. `none_allowed`: `~` is understood; `private`: only the own namespace will do."""
    own = report.resource.namespace
    seen: set[str] = set()
    for index, entry in enumerate(export_to):
        at, key = f"{path}[{index}]", own if entry == "." and own else entry
        if key in seen:
            report.error(codes.DUPLICATE, at, f"{entry!r} is given twice", "Remove one of them.")
        seen.add(key)
        if entry == "~" and not none_allowed:
            report.error(codes.NAMESPACE, at, "'~' (nobody) has no meaning here", "Use '.', '*' or a namespace.")
        elif entry not in ("*", ".", "~") and not hosts.is_label(entry):
            report.error(codes.NAMESPACE, at, f"{entry!r} is no namespace", "Use '.', '*' or the name of a namespace.")
    if private and seen - {own, "."}:
        text = "with a workloadSelector a DestinationRule is for its own namespace only"
        report.error(codes.CONFLICT, path, text, "Remove exportTo or set it to ['.'].")
        return
    for one in ("*", "~"):
        if one in seen and len(seen) > 1:
            report.error(codes.CONFLICT, path, f"{one!r} excludes all other entries", f"Keep {one!r} or the others.")


def check_gateways(report: Report, path: str, gateways: Sequence[str]) -> None:
    """Names of Gateways: `mesh`, `name`, `namespace/name`, or the old form of a DNS name, which draws a warning."""
    for index, gateway in enumerate(gateways):
        at = f"{path}[{index}]"
        namespace, slash, name = gateway.partition("/")
        if not slash:
            if hosts.name_problem(gateway, wildcard=False):
                report.error(codes.NAME, at, f"{gateway!r} names no Gateway", "Write name or namespace/name.")
            elif "." in gateway:
                first, second = gateway.split(".")[:2]
                text = f"gateway {gateway!r} is in the old form of a DNS name"
                report.warning(codes.DEPRECATED, at, text, f"Write {second}/{first}.")
        elif not hosts.is_label(namespace):
            report.error(codes.NAMESPACE, at, f"{namespace!r} is no namespace", "Write namespace/name.")
        elif not hosts.is_label(name):
            report.error(codes.NAME, at, f"{name!r} names no Gateway", "Write namespace/name.")
