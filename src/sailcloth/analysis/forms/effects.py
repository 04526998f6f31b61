"""Says in sentences what the rules of a form do to requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .traffic_rules import Condition, HttpRule, Policy, Target, TcpRule, TrafficRules

_PARTS = {
    "header": "header {name}",
    "queryParam": "query parameter {name}",
    "uri": "the path",
    "method": "the method",
    "authority": "the host",
    "scheme": "the scheme",
}
_OPERATORS = {
    "exact": "is {value}",
    "prefix": "starts with {value}",
    "regex": "matches {value}",
    "present": "is there",
    "absent": "is missing",
}


def sentences(form: TrafficRules) -> list[str]:
    """What happens to requests, in the order in which rules are tried."""
    where = " and ".join(form.hosts)
    out = [f"Requests to {where} through the gateways {', '.join(form.gateways)}:"] if form.gateways else []
    for rule in form.http:
        out += _http(rule)
    out += [_tcp(rule) for rule in form.tcp]
    if form.http and form.http[-1].matches:
        out.append("Other requests are answered with 404: no rule matches them.")
    return [*out, *_policy(form.policy)]


def _http(rule: HttpRule) -> Iterator[str]:
    who = "All requests" if not rule.matches else f"Requests where {' or '.join(_all(m) for m in rule.matches)}"
    yield f"{who} go to {_targets(rule.targets)}."
    if rule.abort_status is not None:
        yield f"  {_percent(rule.abort_percent)} of them are answered with {rule.abort_status} at once."
    if rule.delay is not None:
        yield f"  {_percent(rule.delay_percent)} of them wait {rule.delay} first."
    if rule.timeout is not None:
        yield f"  They are answered with 504 after {rule.timeout}."
    if rule.attempts is not None:
        each = f", each for at most {rule.per_try_timeout}" if rule.per_try_timeout else ""
        yield (
            f"  They are tried again up to {rule.attempts} times{each}."
            if rule.attempts
            else "  They are not tried again."
        )
    if rule.mirror is not None:
        yield f"  {_percent(rule.mirror_percent)} of them are sent to {_name(rule.mirror)} too; its answers are dropped."


def _tcp(rule: TcpRule) -> str:
    return f"Connections{f' to port {rule.port}' if rule.port else ''} go to {_targets(rule.targets)}."


def _policy(policy: Policy) -> Iterator[str]:
    key = policy.hash_header or policy.hash_cookie or policy.hash_query_param
    if key or policy.hash_source_ip:
        yield f"Requests with the same {key or 'source address'} go to the same pod."
    elif policy.load_balancer:
        yield f"Pods are chosen by {policy.load_balancer}."
    limits = {
        "connections": policy.max_connections,
        "waiting requests": policy.max_pending_requests,
        "requests at a time": policy.max_requests,
    }
    stated = [f"{value} {name}" for name, value in limits.items() if value is not None]
    if stated:
        yield f"Each caller's proxy allows at most {', '.join(stated)}; more are answered with 503."
    errors = policy.consecutive_errors or policy.consecutive_gateway_errors
    if errors:
        time = policy.base_ejection_time or "30s"
        yield f"A pod with {errors} errors in a row gets no requests for {time}."
    if policy.tls_mode:
        yield f"TLS to its pods: {policy.tls_mode}."


def _all(conditions: Sequence[Condition]) -> str:
    return " and ".join(
        f"{_PARTS[c.part].format(name=c.name)} {_OPERATORS[c.operator].format(value=c.value)}" for c in conditions
    )


def _targets(targets: Sequence[Target]) -> str:
    if len(targets) == 1:
        return _name(targets[0])
    total = sum(t.weight for t in targets)
    return (
        ", ".join(f"{_name(t)} ({100 * t.weight / total:.3g} %)" for t in targets if t.weight) if total else "nowhere"
    )


def _name(target: Target) -> str:
    return f"{target.host} {target.subset}".rstrip() + (f" port {target.port}" if target.port else "")


def _percent(share: float | None) -> str:
    return f"{100.0 if share is None else share:g} %"
