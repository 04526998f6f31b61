"""An AuthorizationPolicy that allows the requests in a workload's access log.

The source address of a connection with mutual TLS gives the caller's identity. Other requests have no identity, so a policy that names
identities refuses them. Must not read logs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sailcloth.lib import access_log_lines

Object = dict[str, Any]
_MAX_PATHS = 20  # with more paths the policy names methods only
_REFUSED = "rbac_access_denied"
_IDENTIFIER = re.compile(r"^(\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,})$")


@dataclass(frozen=True, slots=True)
class ObservedRequest:
    """A request, or a connection (method and path empty). `principal`: empty if the caller has no identity."""

    principal: str
    address: str
    port: int
    method: str = ""
    path: str = ""


def parse(line: str, principals: Mapping[str, str], gateway: str = "") -> ObservedRequest | None:
    """The request of an access log line in Istio's text or JSON format; None for other lines, for requests that the workload sent, and
    for those that a policy has refused.

    principals: identity by address. gateway: the identity of the mesh's gateway. For requests through it, Envoy logs the client's
    address from X-Forwarded-For with port 0 as the remote address.
    """
    fields = access_log_lines.parse(line)
    if fields is None:
        return None
    cluster, sni = fields["upstream_cluster"] or "", fields.get("requested_server_name")
    remote = str(fields.get("downstream_remote_address") or "")
    method, path, details = fields.get("method"), fields.get("path"), fields.get("response_code_details")
    parts = str(cluster).split("|")
    if str(details).startswith(_REFUSED) or parts[0] != "inbound" or len(parts) < 2 or not parts[1].isdigit():
        return None
    address, _, port = remote.rpartition(":")
    address = address.strip("[]")
    principal = gateway if port == "0" else principals.get(address, "")
    principal = principal if sni and str(sni).startswith("outbound_") else ""
    if not method:
        return ObservedRequest(principal, address, int(parts[1]))
    return ObservedRequest(principal, address, int(parts[1]), method, _generalize(str(path or "/").partition("?")[0]))


def generalized(request: ObservedRequest) -> ObservedRequest:
    """The request with a placeholder for each part of its path that looks like an identifier."""
    return replace(request, path=_generalize(request.path)) if request.path else request


def _generalize(path: str) -> str:
    """A path with a placeholder for each segment that looks like an identifier."""
    return "/".join("{*}" if _IDENTIFIER.match(segment) else segment for segment in path.split("/"))


def policy(
    name: str, namespace: str, labels: Mapping[str, str], requests: Iterable[ObservedRequest]
) -> tuple[Object, list[str]]:
    """(ALLOW policy, notes for its reader)."""
    counts = Counter(requests)
    identified = {request: count for request, count in counts.items() if request.principal}
    operations: dict[tuple[tuple[int, ...], tuple[str, ...], tuple[str, ...]], list[str]] = {}
    notes = [f"{sum(counts.values())} requests observed; those of the last second may not be logged yet"]
    for principal in sorted({request.principal for request in identified}):
        of_principal = [request for request in identified if request.principal == principal]
        for methods, ports, paths in _operations(of_principal):
            if len(paths) > _MAX_PATHS:
                notes.append(f"{principal}: {len(paths)} paths, so the rule names none")
                paths = ()
            operations.setdefault((ports, methods, paths), []).append(principal)
    rules = [
        {
            "from": [{"source": {"principals": principals}}],
            "to": [
                {
                    "operation": {
                        "ports": [str(port) for port in ports],
                        **({"methods": list(methods)} if methods else {}),
                        **({"paths": list(paths)} if paths else {}),
                    }
                }
            ],
        }
        for (ports, methods, paths), principals in operations.items()
    ]
    refused = Counter[str]()
    for request, count in counts.items():
        if not request.principal:
            refused[request.address] += count
    for address, count in refused.most_common():
        notes.append(f"{count} of them would have been refused: from {address}, without an identity")
    if not rules:
        notes.append("no caller has an identity: the policy refuses everything")
    spec: Object = {"action": "ALLOW", "rules": rules}
    spec = {"selector": {"matchLabels": dict(labels)}, **spec} if labels else spec
    metadata = {"name": name, "namespace": namespace}
    return (
        {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec},
        notes,
    )


def _operations(
    requests: list[ObservedRequest],
) -> list[tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]]:
    """(methods, ports, paths) of one caller's requests, grouped by equal methods and ports."""
    by_path: dict[tuple[int, str], set[str]] = {}
    for request in requests:
        by_path.setdefault((request.port, request.path), set()).update({request.method} if request.method else ())
    grouped: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for (port, path), methods in sorted(by_path.items()):
        grouped.setdefault((port, tuple(sorted(methods))), []).append(path)
    return [(methods, (port,), tuple(p for p in paths if p)) for (port, methods), paths in grouped.items()]
