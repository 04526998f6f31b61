"""What a route of Envoy's configuration does to requests, in words. Must not match requests; `simulate` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import proxy_tables

Object = Mapping[str, Any]
_FAULT = "envoy.filters.http.fault"
_HEADERS = (
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
)


def shares(entry: Object) -> dict[str, float]:
    """Percent of the requests by cluster; clusters without any are left out."""
    action = entry.get("route", {})
    weighted = action.get("weighted_clusters", {}).get("clusters", ())
    if not weighted:
        return {action["cluster"]: 100.0} if action.get("cluster") else {}
    total = sum(c.get("weight", 0) for c in weighted) or 1
    found: dict[str, float] = {}
    for cluster in weighted:
        if cluster.get("weight", 0):
            found[cluster["name"]] = found.get(cluster["name"], 0.0) + 100 * cluster["weight"] / total
    return found


def faults(entry: Object) -> tuple[list[str], int]:
    """(faults, the status that answers every request; 0 if none does)."""
    fault = entry.get("typed_per_filter_config", {}).get(_FAULT, {})
    out, certain = [], 0
    if "delay" in fault:
        out.append(f"{_percent(fault['delay']['percentage']):g} % wait {fault['delay']['fixed_delay']} first")
    if "abort" in fault:
        share, status = _percent(fault["abort"]["percentage"]), int(fault["abort"].get("http_status", 0))
        out.append(f"{share:g} % are answered with {status or 'a gRPC status'}")
        certain = status if share >= 100 else 0
    return out, certain


def _percent(fraction: Object) -> float:
    whole = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}[fraction.get("denominator", "HUNDRED")]
    return 100 * float(fraction.get("numerator", 0)) / whole


def mirror(policy: Object) -> str:
    """A policy of `request_mirror_policies`."""
    share = policy.get("runtime_fraction", {}).get("default_value")
    return f"{policy['cluster']} ({_percent(share):g} %)" if share else str(policy["cluster"])


def timeout(action: Object) -> str:
    """The timeout of a route action; empty for none."""
    return action.get("timeout", "") if action.get("timeout", "0s") != "0s" else ""


def retries(action: Object) -> str:
    """The retries of a route action; empty for none."""
    policy = action.get("retry_policy") or {}
    return f"{policy['num_retries']} on {policy['retry_on']}" if policy.get("num_retries") else ""


def settings(entry: Object) -> dict[str, str]:
    """What a route does besides choosing a destination, by its name in messages; empty texts for what it does not do."""
    action, filters = entry.get("route", {}), entry.get("typed_per_filter_config", {})
    answer, redirect = entry.get("direct_response", {}), entry.get("redirect", {})
    return {
        "timeout": timeout(action),
        "retries": retries(action),
        "faults": ", ".join(faults(entry)[0]),
        "mirror": ", ".join(map(mirror, action.get("request_mirror_policies", ()))),
        "rewrite": str(action.get("prefix_rewrite") or action.get("regex_rewrite") or ""),
        "host rewrite": action.get("host_rewrite_literal", ""),
        "redirect": " ".join(f"{k}={v}" for k, v in sorted(redirect.items())),
        "direct response": str(answer.get("status", "")),
        "headers": " ".join(_changed_headers(entry)),
        **{f"filter {name}": str(value) for name, value in sorted(filters.items()) if name != _FAULT},
    }


def _changed_headers(entry: Object) -> Iterator[str]:
    for field in _HEADERS:
        for header in entry.get(field, ()):
            yield f"-{header}" if isinstance(header, str) else f"+{header.get('header', {}).get('key', '')}"


def match(entry: Object) -> str:
    """Which requests a route is for; `/*` is all of its virtual host's."""
    criteria = entry.get("match", {})
    words = [proxy_tables.route_match(criteria)]
    for field, kind in (("headers", "header"), ("query_parameters", "parameter")):
        for each in criteria.get(field, ()):
            text = each.get("string_match", {})
            value = next((str(v.get("regex", "") if isinstance(v, dict) else v) for v in text.values()), "present")
            words.append(f"{'not ' if each.get('invert_match') else ''}{kind} {each.get('name', '')}={value}")
    return " ".join(words)
