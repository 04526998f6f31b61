"""Where calls go through a mesh of manifests: to compare objects with what they are converted to, proxy by proxy."""

from __future__ import annotations

import re
from typing import Any

from sailcloth.analysis import manifests, offline
from sailcloth.analysis.simulate import Call, Simulator
from sailcloth.cli.convert import manifest_texts

from . import converted

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {0}, namespace: default}}
spec: {{clusterIP: 10.0.0.{1}, selector: {2}, ports: [{{name: http, port: 80}}]}}
---
"""
SERVICES = "".join(
    SERVICE.format(name, index, selector)
    for index, (name, selector) in enumerate(
        [
            ("a", "{app: a}"),
            ("b", "{app: b}"),
            ("c", "{app: c}"),
            ("a-v1", "{app: a, version: v1}"),
            ("a-v2", "{app: a, version: v2}"),
        ],
        1,
    )
)
"""Of a mesh with the services a, b and c, and with Services for the versions of a."""


def texts(text: str, target: str = "istio") -> tuple[str, list[str]]:
    """(the converted manifests, what is lost)."""
    out = converted(text, target)
    return manifest_texts.printed(out), [str(f) for d in out for f in d.losses]


def simulator(text: str, **proxy: Any) -> Simulator:
    """The configuration of a proxy in a mesh with these manifests."""
    objects, findings = manifests.load([text])
    assert not findings, [str(f) for f in findings]
    mesh = offline.mesh_of(objects)
    return Simulator(offline.config_dump(offline.resources(mesh, offline.describe(proxy))))


def outcome(proxy: Simulator, call: Call) -> dict[str, Any]:
    """All that Envoy does with a call, without the names of objects and of the route."""
    found = proxy.run(call)
    route = found.entry or {}
    action = {k: v for k, v in route.get("route", {}).items() if k not in ("prefix_rewrite", "regex_rewrite")}
    retries = dict(action.get("retry_policy", {}))
    if retries and "retriable_status_codes" not in retries:  # the condition has no effect then
        words = str(retries["retry_on"]).split(",")
        action["retry_policy"] = {**retries, "retry_on": [w for w in words if w != "retriable-status-codes"]}
    kept = ("request_headers_to_add", "request_headers_to_remove", "response_headers_to_add", "typed_per_filter_config")
    return {
        "clusters": found.clusters,
        "status": found.status,
        "location": found.location,
        "error": found.error,
        "path": path_after(route, call.path),
        "action": action,
        **{name: route.get(name) for name in kept},
    }


def path_after(route: dict[str, Any], path: str) -> str:
    """The path that the destination gets."""
    action, match = route.get("route", {}), route.get("match", {})
    if "prefix_rewrite" in action:
        matched = match.get("prefix") or match.get("path") or match.get("path_separated_prefix") or ""
        return str(action["prefix_rewrite"]) + path[len(matched) :]
    if "regex_rewrite" in action:
        rule = action["regex_rewrite"]
        bare, mark, query = path.partition("?")  # Envoy rewrites the part without the query
        return re.sub(rule["pattern"]["regex"], rule["substitution"], bare, count=1) + mark + query
    return path
