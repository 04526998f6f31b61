"""Policy attachment: references to a Gateway, Service and so on (`targetRefs`), instead of a workload selector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from .meta import Constraint, D, Selector, Struct


class PolicyTargetReference(Struct):
    """References an object in the policy's namespace."""

    group: Annotated[
        str,
        D("API group; empty for Service."),
        Constraint(maxLength=253, pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
    ] = ""
    kind: Annotated[
        str,
        D("Gateway, GatewayClass, Service or ServiceEntry."),
        Constraint(required=True, minLength=1, maxLength=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"),
    ] = ""
    name: Annotated[str, D("Name of the object."), Constraint(required=True, minLength=1, maxLength=253)] = ""
    namespace: Annotated[
        str | None,
        D("Must not be set."),
        Constraint(("self.size() == 0", "cross namespace referencing is not currently supported")),
    ] = None


ConstraintOneAttachment = Constraint(
    (
        "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) && self.targetRefs.size() > 0 ? 1 : 0) <= 1",
        "only one of targetRefs or selector can be set",
    )
)


class Attached(Struct):
    """Base of policy specs: the workloads or objects that the policy applies to."""

    selector: Annotated[Selector | None, D("Workloads it applies to; default the whole namespace.")] = None
    target_ref: Annotated[PolicyTargetReference | None, D("Object it applies to (older form).")] = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], D("Objects it applies to, at most 16."), Constraint(maxItems=16)
    ] = ()


def targets(
    older: Iterable[PolicyTargetReference | None], listed: Iterable[PolicyTargetReference]
) -> tuple[PolicyTargetReference, ...]:
    """The references of a policy in both fields."""
    return tuple(reference for reference in (*older, *listed) if reference is not None)
