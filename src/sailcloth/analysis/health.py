"""Health of workloads, services, applications and edges: by their requests, and by their replicas. Pure.

The rule and its thresholds are Kiali's, so that colours mean what people know (console.md 1.5): errors of each direction and protocol
as a share of the requests of that direction and protocol, never pooled. A judgement says which rule, share and thresholds made a status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sailcloth.lib import regex

Rates = Mapping[str, Mapping[str, float]]
"""Requests a second by protocol and response code. The code of a request without a response is `-`."""
ORDER = ("NA", "Healthy", "NotReady", "Degraded", "Failure")
"""Statuses, better ones first."""
ANNOTATION = "health.kiali.io/rate"
INBOUND, OUTBOUND = "inbound", "outbound"


@dataclass(frozen=True)
class Tolerance:
    """Shares in percent from which requests with some codes make a workload degraded or failing. `code`, `protocol`, `direction` are
    regular expressions for the whole text; an `X` in a code is any digit."""

    code: str
    protocol: str
    degraded: float
    failure: float
    direction: str = ".*"

    def covers(self, direction: str, protocol: str) -> bool:
        """Whether it judges requests of a direction and protocol."""
        return _matches(self.direction, direction) and _matches(self.protocol, protocol)

    def counts(self, code: str) -> bool:
        """Whether a response code is an error for it."""
        return _matches(_digits(self.code), code)


DEFAULT = (
    Tolerance("5XX", "http", 0, 10),
    Tolerance("4XX", "http", 10, 20),
    Tolerance("[1-9]|1[0-6]", "grpc", 0, 10),
    Tolerance("-", "http|grpc", 0, 10),
)


@dataclass(frozen=True)
class Judgement:
    """What one tolerance makes of the requests of one direction and protocol. `share` in percent, `rate` a second."""

    status: str
    direction: str
    protocol: str
    tolerance: Tolerance
    share: float
    rate: float


@dataclass(frozen=True)
class Replicas:
    """Pods of a workload. `synced`: those whose proxies have everything; None if they have no proxies."""

    desired: int
    current: int
    available: int
    synced: int | None = None

    @property
    def status(self) -> str:
        desired, current, available = self.desired, self.current, self.available
        if desired == 0:
            return "NotReady"
        if current > 0 and available > 0 and (current < desired or available < desired):
            return "Degraded"
        if available == 0 or (desired == available and available != current):
            return "Failure"
        if self.synced is not None and self.synced < desired:
            return "Degraded"
        return "Healthy" if desired == current == available else "Degraded"


def worst(statuses: Iterable[str]) -> str:
    """The worst of some statuses; NA if there are none."""
    return max(statuses, key=ORDER.index, default="NA")


def of_requests(
    inbound: Rates, outbound: Rates, tolerances: Sequence[Tolerance] = DEFAULT
) -> tuple[str, tuple[Judgement, ...]]:
    """The status by requests, and the judgements that led to it, the worst first. Without requests it is NA."""
    judgements = []
    traffic = False
    for direction, rates in ((INBOUND, inbound), (OUTBOUND, outbound)):
        for protocol, by_code in rates.items():
            total = sum(by_code.values())
            if total <= 0 or protocol == "tcp":
                continue
            traffic = True
            for tolerance in tolerances:
                if tolerance.covers(direction, protocol):
                    errors = sum(rate for code, rate in by_code.items() if tolerance.counts(code))
                    share = 100 * errors / total
                    judgements.append(
                        Judgement(_status(share, tolerance), direction, protocol, tolerance, share, total)
                    )
    judgements.sort(key=lambda j: (-ORDER.index(j.status), -j.share))
    status = worst(j.status for j in judgements)
    return ("Healthy" if traffic and status == "NA" else status), tuple(judgements)


def of_edge(
    protocol: str,
    by_code: Mapping[str, float],
    source: Sequence[Tolerance] = DEFAULT,
    destination: Sequence[Tolerance] = DEFAULT,
) -> str:
    """The status of the requests of an edge: as outbound ones of its source, and as inbound ones of its destination."""
    total = sum(by_code.values())
    if total <= 0 or protocol == "tcp":
        return "NA"
    if source is destination is DEFAULT and not any(_is_error(protocol, code) for code in by_code):
        return "Healthy"  # as most edges are
    status = "Healthy"
    ends = ((OUTBOUND, source), (INBOUND, destination))
    for direction, applied in ends[:1] if source is destination is DEFAULT else ends:  # its directions are alike
        for tolerance in applied:
            if tolerance.covers(direction, protocol):
                share = 100 * sum(rate for code, rate in by_code.items() if tolerance.counts(code)) / total
                status = worst((status, _status(share, tolerance)))
    return status


def tolerances(annotations: Mapping[str, str]) -> tuple[Tolerance, ...]:
    """The tolerances that an object's annotation sets (`code,degraded,failure,protocol,direction;…`), or the default ones if it has
    none that is valid."""
    text = annotations.get(ANNOTATION, "")
    return _parse(text) if text else DEFAULT


@lru_cache(maxsize=256)
def _parse(annotation: str) -> tuple[Tolerance, ...]:
    out = []
    for text in annotation.split(";"):
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 5:
            continue
        code, degraded, failure, protocol, direction = parts
        try:
            tolerance = Tolerance(code, protocol, float(degraded), float(failure), direction)
            tolerance.counts("500"), tolerance.covers(INBOUND, "http")
        except ValueError:
            continue
        if 0 <= tolerance.degraded <= tolerance.failure:
            out.append(tolerance)
    return tuple(out) or DEFAULT


def _status(share: float, tolerance: Tolerance) -> str:
    if share <= 0:
        return "Healthy"
    if share >= tolerance.failure:
        return "Failure"
    return "Degraded" if share >= tolerance.degraded else "Healthy"


@lru_cache(maxsize=4096)
def _is_error(protocol: str, code: str) -> bool:
    """Whether any of the default tolerances counts a code."""
    return any(tolerance.covers(INBOUND, protocol) and tolerance.counts(code) for tolerance in DEFAULT)


@lru_cache(maxsize=4096)
def _matches(pattern: str, text: str) -> bool:
    """Whether an expression of RE2 matches the whole text. Raises regex.BadRegex."""
    return bool(regex.compiled(pattern).fullmatch(text))


@lru_cache(maxsize=256)
def _digits(code: str) -> str:
    return code.replace("X", r"\d").replace("x", r"\d")
