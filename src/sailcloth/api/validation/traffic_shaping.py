"""Validates retries, faults and CORS of an HTTP rule."""

from __future__ import annotations

from typing import Final

from sailcloth.api.virtual_service import CorsPolicy, HTTPFaultInjection, HTTPRetry, HTTPRoute

from . import amounts, codes, durations, http
from .report import Report

# Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on.
_RETRY_ON: Final = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
_GRPC: Final = frozenset(
    [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ]
)


def check(report: Report, path: str, rule: HTTPRoute) -> None:
    """Validate retries, faults and CORS."""
    if rule.retries is not None:
        _retries(report, f"{path}.retries", rule.retries, rule.timeout)
    if rule.fault is not None:
        _fault(report, f"{path}.fault", rule.fault)
    if rule.cors_policy is not None:
        _cors(report, f"{path}.corsPolicy", rule.cors_policy)


def _retries(report: Report, path: str, retries: HTTPRetry, timeout: str | None) -> None:
    if retries.attempts < 0:
        report.error(codes.RANGE, f"{path}.attempts", f"{retries.attempts} attempts are negative", "Give 0 or more.")
    elif retries.attempts == 0 and (retries.per_try_timeout or retries.retry_on or retries.retry_remote_localities):
        text = "attempts is 0, which disables retries, but other retry settings are set"
        report.error(codes.CONFLICT, f"{path}.attempts", text, "Give attempts, or remove the other settings.")
    durations.check(report, f"{path}.perTryTimeout", retries.per_try_timeout, zero=True)
    durations.check(report, f"{path}.backoff", retries.backoff)
    for condition in (w.strip() for w in (retries.retry_on or "").split(",")):
        if (
            condition
            and condition not in _RETRY_ON
            and not (condition.isascii() and condition.isdigit() and 100 <= int(condition[:4]) <= 599)
        ):
            text = f"{condition!r} is not a retry condition"
            report.error(codes.CHOICE, f"{path}.retryOn", text, f"Use status codes or {', '.join(sorted(_RETRY_ON))}.")
    per_try, whole = durations.milliseconds(retries.per_try_timeout), durations.milliseconds(timeout)
    if per_try and whole and per_try > whole:
        text = f"perTryTimeout {retries.per_try_timeout} is longer than the rule's timeout {timeout}"
        report.warning(codes.NO_EFFECT, f"{path}.perTryTimeout", text, "Give less than the rule's timeout.")


def _fault(report: Report, path: str, fault: HTTPFaultInjection) -> None:
    if fault.delay is None and fault.abort is None:
        report.error(codes.REQUIRED, path, "the fault does nothing", "Give delay or abort.")
    delay, abort = fault.delay, fault.abort
    if delay is not None:
        at = f"{path}.delay"
        amounts.check_percent(report, f"{at}.percentage", delay.percentage)
        if delay.fixed_delay is not None and delay.exponential_delay is not None:
            text = "fixedDelay and exponentialDelay are mutually exclusive"
            report.error(codes.CONFLICT, at, text, "Keep fixedDelay.")
        elif delay.exponential_delay is not None:
            report.error(codes.CHOICE, f"{at}.exponentialDelay", "it is not supported", "Use fixedDelay.")
        elif delay.fixed_delay is None:
            report.error(codes.REQUIRED, f"{at}.fixedDelay", "the delay has no duration", "Give a fixedDelay.")
        durations.check(report, f"{at}.fixedDelay", delay.fixed_delay)
        if delay.percentage is not None and delay.percent:
            text = "percentage is used, percent is not"
            report.warning(codes.NO_EFFECT, f"{at}.percent", text, "Remove percent.")
    if abort is not None:
        at = f"{path}.abort"
        amounts.check_percent(report, f"{at}.percentage", abort.percentage)
        errors_set = [n for n in ("http_status", "grpc_status", "http2_error") if getattr(abort, n) is not None]
        if len(errors_set) > 1:
            report.error(
                codes.CONFLICT, at, "httpStatus, grpcStatus and http2Error are mutually exclusive", "Keep one."
            )
        elif not errors_set:
            report.error(codes.REQUIRED, at, "the abort has no error type", "Give httpStatus or grpcStatus.")
        if abort.http2_error is not None:
            report.error(codes.CHOICE, f"{at}.http2Error", "it is not supported", "Use httpStatus or grpcStatus.")
        if abort.grpc_status is not None and abort.grpc_status not in _GRPC:
            text = f"{abort.grpc_status!r} is not a gRPC status"
            report.error(codes.CHOICE, f"{at}.grpcStatus", text, "Use a name such as UNAVAILABLE.")
        if abort.http_status is not None:
            http.check_status(report, f"{at}.httpStatus", abort.http_status)


def _cors(report: Report, path: str, cors: CorsPolicy) -> None:
    for index, origin in enumerate(cors.allow_origins):
        http.check_match(report, f"{path}.allowOrigins[{index}]", origin)
    for index, method in enumerate(cors.allow_methods):
        if method not in http.METHODS and method != "*":
            text = f"{method!r} is not an HTTP method"
            report.error(codes.NAME, f"{path}.allowMethods[{index}]", text, "Use GET, POST and the like, in capitals.")
    for field, names in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, name in enumerate(names):
            http.check_header(report, f"{path}.{field}[{index}]", name)
    if durations.check(report, f"{path}.maxAge", cors.max_age, zero=True):
        max_age_ms = durations.milliseconds(cors.max_age) or 0
        if max_age_ms % 1000:
            text = f"maxAge {cors.max_age!r} is not a whole number of seconds"
            report.error(codes.DURATION, f"{path}.maxAge", text, "Round it to seconds.")
    if cors.unmatched_preflights not in (None, "", "UNSPECIFIED", "FORWARD", "IGNORE"):
        text = f"{cors.unmatched_preflights!r} is not supported"
        report.error(codes.CHOICE, f"{path}.unmatchedPreflights", text, "Use FORWARD or IGNORE.")
    if cors.allow_credentials and any(o == "*" for o in cors.allow_origin):
        text = "browsers reject credentials with origin '*'"
        report.warning(codes.RISKY, f"{path}.allowCredentials", text, "Name the origins.")
