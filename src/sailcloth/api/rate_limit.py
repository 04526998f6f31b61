"""RateLimit (sailcloth.io): how many requests or connections a workload accepts. Ours; Istio has no kind for it."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import D, Duration, Object, StringMatch, Struct
from .sidecar import WorkloadSelector


class Rate(Struct):
    """So many in so long a time, and how many at once."""

    requests: Annotated[int, D("How many, in each period.", ge=1)]
    per: Annotated[Duration, D("The period; default 1s.")] = "1s"
    burst: Annotated[int, D("Most at once after a quiet time; 0 (default): as many as in a period.", ge=0)] = 0


class RateLimitMatch(Struct):
    """Conditions on a request; all that are given must hold."""

    path: Annotated[StringMatch | None, D("Path of the request, without its query.")] = None
    method: Annotated[StringMatch | None, D("HTTP method.")] = None
    headers: Annotated[dict[str, StringMatch], D("Headers by lower-case name; an empty value means: is present.")] = {}


class RateLimitKey(Struct):
    """What requests are counted apart by; exactly one is given."""

    header: Annotated[str | None, D("Each value of this header by itself; requests without it are not limited.")] = None
    source_address: Annotated[bool, D("Each address of a caller by itself.")] = False


class RateLimitRule(Struct):
    """A limit for the requests that match. Every rule that matches counts; the strictest decides."""

    limit: Annotated[Rate, D("How many.")]
    match: Annotated[RateLimitMatch | None, D("Requests that are meant; default all.")] = None
    by: Annotated[tuple[RateLimitKey, ...], D("Count apart by these.")] = ()
    scope: Annotated[
        Literal["LOCAL", "GLOBAL"],
        D("LOCAL: each replica counts for itself, at no cost. GLOBAL: all replicas together, asked for each request."),
    ] = "LOCAL"


class RateLimitSpec(Struct):
    """Limits for what workloads accept."""

    workload_selector: Annotated[WorkloadSelector | None, D("Workloads; default the whole namespace.")] = None
    http: Annotated[tuple[RateLimitRule, ...], D("Limits for requests.")] = ()
    connections: Annotated[Rate | None, D("Limit for new connections, for ports that are not HTTP too.")] = None


class RateLimit(Object):
    """Limits requests and connections that workloads accept; what exceeds them is answered with 429, or closed."""

    spec: RateLimitSpec = RateLimitSpec()
