"""Validates policy attachment: either a workload selector, or references to objects."""

from __future__ import annotations

from collections.abc import Sequence

from sailcloth.api.attachment import PolicyTargetReference
from sailcloth.api.meta import Selector

from . import codes, labels
from .report import Report

_KINDS = {
    ("", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
}
_MOST = 16


def check(
    report: Report,
    selector: Selector | None,
    reference: PolicyTargetReference | None,
    references: Sequence[PolicyTargetReference],
) -> None:
    """`spec.selector`, `spec.targetRef` and `spec.targetRefs` of a policy."""
    labels.check_selector(report, "spec.selector", selector.match_labels if selector is not None else None)
    check_references(report, reference, references, "selector" if selector is not None else "")


def check_references(
    report: Report, reference: PolicyTargetReference | None, references: Sequence[PolicyTargetReference], selector: str
) -> None:
    """`selector`: the name of the policy's selector field, if it has one."""
    if reference is not None and references:
        text = "targetRef and targetRefs are mutually exclusive"
        report.error(codes.CONFLICT, "spec.targetRef", text, "Move it into targetRefs.")
    field = "targetRefs" if references else "targetRef"
    if selector and (reference is not None or references):
        text = f"{selector} and {field} are mutually exclusive"
        report.error(codes.CONFLICT, f"spec.{field}", text, "Keep one of them.")
    if len(references) > _MOST:
        text = f"{len(references)} references are given, at most {_MOST} are allowed"
        report.error(codes.SIZE, "spec.targetRefs", text, "Make several policies.")
    if reference is not None:
        _check_reference(report, "spec.targetRef", reference)
    for index, listed in enumerate(references):
        _check_reference(report, f"spec.targetRefs[{index}]", listed)


def _check_reference(report: Report, path: str, reference: PolicyTargetReference) -> None:
    group = "" if reference.group == "core" else reference.group
    if not reference.name:
        report.error(codes.REFERENCE, f"{path}.name", "the name is missing", "Name the object.")
    if reference.namespace:
        text = "a policy applies to objects of its own namespace only"
        report.error(codes.REFERENCE, f"{path}.namespace", text, "Remove it, and put the policy beside the object.")
    if (group, reference.kind) not in _KINDS:
        text = f"a policy cannot be attached to {group}/{reference.kind}"
        supported = ", ".join(sorted(f"{g}/{k}" if g else k for g, k in _KINDS))
        report.error(codes.REFERENCE, path, text, f"Use {supported}.")
