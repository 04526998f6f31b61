"""What a policy is attached to: a reference to a Gateway, a Service and the like, in place of a selector of workloads."""

from __future__ import annotations

from typing import Annotated

from .meta import D, Selector, Struct


class PolicyTargetReference(Struct):
    """Names an object in the policy's own namespace."""

    group: Annotated[str, D("API group; empty for Service.")] = ""
    kind: Annotated[str, D("Gateway, GatewayClass, Service or ServiceEntry.")] = ""
    name: Annotated[str, D("Name of the object.")] = ""
    namespace: Annotated[str | None, D("Must not be set.")] = None


class Attached(Struct):
    """Base of the specs of policies: the workloads, or the objects, that they hold for."""

    selector: Annotated[Selector | None, D("Workloads it applies to; default the whole namespace.")] = None
    target_ref: Annotated[PolicyTargetReference | None, D("Object it applies to (older form).")] = None
    target_refs: Annotated[list[PolicyTargetReference], D("Objects it applies to, at most 16.")] = []
