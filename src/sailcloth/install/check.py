"""Whether what is installed is there and well (`sailctl verify-install`). Changes nothing."""

from __future__ import annotations

from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS

from . import readiness, spec
from .access import MUTATING, VALIDATING
from .apply import manifests
from .ownership import RESOURCES, name_of, title

Line = tuple[bool, str]


async def lines(client: Client, plan: spec.Plan) -> list[Line]:
    """(whether it is well, what it is) for each object of a plan, and for what its control plane makes."""
    found: list[Line] = []
    for component, objects in manifests(plan):
        for obj in objects:
            name = name_of(obj)
            problem = await _problem(client, *name)
            found.append((not problem, f"{component}: {title(name)}" + (f": {problem}" if problem else "")))
    if any(c.name == "Pilot" for c in plan.components):
        for resource, own in ((MUTATING_WEBHOOKS, MUTATING), (VALIDATING_WEBHOOKS, VALIDATING)):
            try:
                await client.get(resource, own)
                found.append((True, f"Pilot: {resource.kind} {own}"))
            except ApiError as error:
                if error.status != 404:
                    raise
                found.append(
                    (False, f"Pilot: {resource.kind} {own}: is not there; the control plane makes it when it starts")
                )
    return found


async def _problem(client: Client, kind: str, namespace: str, name: str) -> str:
    try:
        live = await client.get(RESOURCES[kind], name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return "is not there"
    if kind == "Deployment" and (lacking := await readiness.unavailable(client, name, namespace)):
        why = await readiness.reasons(client, name, namespace)
        return lacking + (f"; {why}" if why else "")
    conditions = (live.get("status") or {}).get("conditions") or ()
    if kind == "CustomResourceDefinition" and ("Established", "True") not in (
        (c["type"], c["status"]) for c in conditions
    ):
        return "is not established"
    return ""
