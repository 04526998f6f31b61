"""RateLimit (sailcloth.io): limits of requests and connections of a workload. Sailcloth's own kind; Istio has none for it."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import D, Duration, Object, StringMatch, Struct
from .sidecar import WorkloadSelector


class Rate(Struct):
    """A number of requests per period, and a burst."""

    requests: Annotated[int, D("Number of requests per period.", ge=1)]
    per: Annotated[Duration, D("The period; default 1s.")] = "1s"
    burst: Annotated[int, D("Maximum burst after a quiet time; 0 (default): the requests of one period.", ge=0)] = 0


class RateLimitMatch(Struct):
    """Conditions on a request; all that are set must match."""

    path: Annotated[StringMatch | None, D("Path of the request, without its query.")] = None
    method: Annotated[StringMatch | None, D("HTTP method.")] = None
    headers: Annotated[
        dict[str, StringMatch], D("Headers by lower-case name; an empty match means that the header is present.")
    ] = {}


class RateLimitKey(Struct):
    """An attribute whose values are counted separately; exactly one field is set."""

    header: Annotated[
        str | None, D("Count each value of this header separately; requests without it are not limited.")
    ] = None
    source_address: Annotated[bool, D("Count each client address separately.")] = False


class RateLimitRule(Struct):
    """A limit for matching requests. All matching rules apply."""

    limit: Annotated[Rate, D("How many.")]
    match: Annotated[RateLimitMatch | None, D("Requests that are limited; default all.")] = None
    by: Annotated[tuple[RateLimitKey, ...], D("Attributes whose values are counted separately.")] = ()
    scope: Annotated[
        Literal["LOCAL", "GLOBAL"],
        D("LOCAL: per replica, counted in its proxy. GLOBAL: over all replicas, counted by the control plane."),
    ] = "LOCAL"


class RateLimitSpec(Struct):
    """Limits of requests and connections to workloads."""

    workload_selector: Annotated[WorkloadSelector | None, D("Workloads; default the whole namespace.")] = None
    http: Annotated[tuple[RateLimitRule, ...], D("Limits for requests.")] = ()
    connections: Annotated[Rate | None, D("Limit for new connections, also on ports without HTTP.")] = None


class RateLimit(Object):
    """Limits requests and connections to workloads. Requests over a limit get 429; connections are closed."""

    spec: RateLimitSpec = RateLimitSpec()
