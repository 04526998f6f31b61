"""The effective retry policy of a route. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sailcloth.api.meta import duration_ms
from sailcloth.api.virtual_service import HTTPRetry

# Only failures before the application has got the request, so that nothing is done twice.
DEFAULT_ON = ("connect-failure", "refused-stream", "reset-before-request", "retriable-status-codes")


@dataclass(frozen=True)
class RetryPolicy:
    """The effective policy; times in milliseconds."""

    attempts: int
    on: tuple[str, ...]
    status_codes: tuple[int, ...] = ()
    per_try_timeout_ms: float | None = None
    backoff_ms: float | None = None
    avoid_previous_hosts: bool = True
    host_reselections: int = 5  # attempts to find a host that was not tried
    remote_localities: bool = False


def effective(rule: HTTPRetry | None, hashed: bool) -> RetryPolicy | None:
    """The policy for a route; None for no retries. `hashed`: the route uses a consistent hash."""
    if rule is None:
        return RetryPolicy(2, DEFAULT_ON, avoid_previous_hosts=not hashed)
    if rule.attempts <= 0:
        return None
    on, codes = list(DEFAULT_ON), []
    if rule.retry_on:
        parts = [p.strip() for p in rule.retry_on.split(",") if p.strip()]
        codes = [int(p) for p in parts if p.isdigit()]
        on = [p for p in parts if not p.isdigit()]
        if codes and "retriable-status-codes" not in on:
            on.append("retriable-status-codes")
    avoid = rule.retry_ignore_previous_hosts
    return RetryPolicy(
        attempts=rule.attempts,
        on=tuple(on),
        status_codes=tuple(codes),
        per_try_timeout_ms=duration_ms(rule.per_try_timeout),
        backoff_ms=duration_ms(rule.backoff),
        avoid_previous_hosts=not hashed if avoid is None else avoid,
        remote_localities=bool(rule.retry_remote_localities),
    )


def inbound(rule: HTTPRetry | None) -> RetryPolicy | None:
    """The policy for requests to the application, of a mesh's `defaultInboundHttpRetryPolicy`; None for no retries. There is one
    endpoint, so it may be tried again."""
    if rule is None:
        return RetryPolicy(2, ("reset-before-request",), avoid_previous_hosts=False, host_reselections=0)
    policy = effective(rule, hashed=True)
    return replace(policy, avoid_previous_hosts=False, host_reselections=0) if policy is not None else None
