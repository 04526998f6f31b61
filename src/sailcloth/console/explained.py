"""The console's answer about one request: `analysis.explain` over the mesh as it is, without what the user may not see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from sailcloth.analysis.describe import MeshSnapshot
from sailcloth.analysis.explain import Destination, Explainer, Explanation, Question, Unknown

from .answers import BadQuery, body
from .assemble import Scope

POSTS = (("/api/explain", "What happens to a request, and which object decides it.", Question, Explanation),)
Snapshot = Callable[[], Awaitable[MeshSnapshot]]


async def explain(request: web.Request, snapshot: Snapshot, scope: Scope) -> Explanation:
    """The explanation of the request that the body describes. Raises BadQuery."""
    question = await body(request, Question)
    asked = question.source or question.gateway
    namespace = asked.partition("/")[0] if asked else "istio-system"
    if namespace not in scope.readable:
        raise BadQuery(f"there is no namespace {namespace}, or you may not read it")
    try:
        found = Explainer(await snapshot()).explain(question)
    except Unknown as error:
        raise BadQuery(str(error)) from None
    shown = [_visible(destination, scope) for destination in found.destinations]
    skipped = [
        s if _readable(s.object, scope) else msgspec.structs.replace(s, object="", reason="hidden")
        for s in found.skipped
    ]
    return msgspec.structs.replace(found, destinations=shown, skipped=skipped)


def _visible(one: Destination, scope: Scope) -> Destination:
    """A destination without workloads of namespaces that the user may not read."""

    def may(workload: str) -> bool:
        return not workload or workload.partition("/")[0] in scope.readable

    return msgspec.structs.replace(
        one,
        endpoints=[e for e in one.endpoints if may(e.workload)],
        allowed={w: decision for w, decision in one.allowed.items() if may(w)},
    )


def _readable(obj: str, scope: Scope) -> bool:
    """Whether the user may read the namespace of KIND NAMESPACE/NAME."""
    return not obj or obj.partition(" ")[2].partition("/")[0] in scope.readable
