"""Whether what is installed is there and well (`sailctl verify-install`). Changes nothing."""

from __future__ import annotations

from sailcloth.kube import ApiError, Client

from . import readiness, spec
from .apply import manifests
from .ownership import RESOURCES, name_of, title

Line = tuple[bool, str]


async def lines(client: Client, plan: spec.Plan) -> list[Line]:
    """(whether it is well, what it is) for each object of a plan."""
    found: list[Line] = []
    for component, objects in manifests(plan):
        for obj in objects:
            name = name_of(obj)
            problem = await _problem(client, *name)
            found.append((not problem, f"{component}: {title(name)}" + (f": {problem}" if problem else "")))
    return found


async def _problem(client: Client, kind: str, namespace: str, name: str) -> str:
    try:
        live = await client.get(RESOURCES[kind], name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return "is not there"
    if kind in readiness.WORKLOADS and (lacking := await readiness.unavailable(client, name, namespace, kind)):
        why = await readiness.reasons(client, name, namespace, kind)
        return lacking + (f"; {why}" if why else "")
    if kind.endswith("WebhookConfiguration") and not live.get("webhooks"):
        return "has no webhooks; the control plane writes them when it starts"
    conditions = (live.get("status") or {}).get("conditions") or ()
    if kind == "CustomResourceDefinition" and ("Established", "True") not in (
        (c["type"], c["status"]) for c in conditions
    ):
        return "is not established"
    return ""
