"""Validates exportTo, and references to objects in other namespaces."""

from __future__ import annotations

from collections.abc import Sequence

from . import codes, hosts
from .report import Report


def check_export(
    report: Report, path: str, export_to: Sequence[str], none_allowed: bool = False, private: bool = False
) -> None:
    """`*`, `.` or namespaces. `none_allowed`: `~` is allowed, too; `private`: only the own namespace is allowed."""
    own_namespace = report.resource.namespace
    seen: set[str] = set()
    for index, entry in enumerate(export_to):
        at, key = f"{path}[{index}]", own_namespace if entry == "." and own_namespace else entry
        if key in seen:
            report.error(codes.DUPLICATE, at, f"{entry!r} is given twice", "Remove one of them.")
        seen.add(key)
        if entry == "~" and not none_allowed:
            report.error(codes.NAMESPACE, at, "'~' (no namespace) is not allowed here", "Use '.', '*' or a namespace.")
        elif entry not in ("*", ".", "~") and not hosts.is_label(entry):
            report.error(
                codes.NAMESPACE, at, f"{entry!r} is not a namespace", "Use '.', '*' or the name of a namespace."
            )
    if private and seen - {own_namespace, "."}:
        text = "a DestinationRule with a workloadSelector cannot be exported to other namespaces"
        report.error(codes.CONFLICT, path, text, "Remove exportTo or set it to ['.'].")
        return
    for exclusive in ("*", "~"):
        if exclusive in seen and len(seen) > 1:
            report.error(
                codes.CONFLICT, path, f"{exclusive!r} excludes all other entries", f"Keep {exclusive!r} or the others."
            )


def check_gateways(report: Report, path: str, gateways: Sequence[str]) -> None:
    """Names of Gateways: `mesh`, `name`, `namespace/name`, or the deprecated form of a DNS name, with a warning."""
    for index, gateway in enumerate(gateways):
        at = f"{path}[{index}]"
        namespace, slash, name = gateway.partition("/")
        if not slash:
            if hosts.name_problem(gateway, wildcard=False):
                report.error(
                    codes.NAME, at, f"{gateway!r} is not the name of a Gateway", "Write name or namespace/name."
                )
            elif "." in gateway:
                first, second = gateway.split(".")[:2]
                text = f"gateway {gateway!r} is in the deprecated form of a DNS name"
                report.warning(codes.DEPRECATED, at, text, f"Write {second}/{first}.")
        elif not hosts.is_label(namespace):
            report.error(codes.NAMESPACE, at, f"{namespace!r} is not a namespace", "Write namespace/name.")
        elif not hosts.is_label(name):
            report.error(codes.NAME, at, f"{name!r} is not the name of a Gateway", "Write namespace/name.")
