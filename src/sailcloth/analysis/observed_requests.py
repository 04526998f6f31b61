"""AuthorizationPolicies from requests that were observed: what a workload's access log says of its callers, and no more.

A caller is known by the address that its connection came from, if mutual TLS was used; other requests have no identity, and a policy that
names identities refuses them. Must not read logs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import access_log_lines

Object = dict[str, Any]
_MOST_PATHS = 20  # more are not told apart: the policy then names methods only
_REFUSED = "rbac_access_denied"
_VARIABLE = re.compile(r"^(\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,})$")


@dataclass(frozen=True, slots=True)
class Observed:
    """One request, or a connection (method and path empty). `principal`: empty if the caller has no identity."""

    principal: str
    address: str
    port: int
    method: str = ""
    path: str = ""


def parse(line: str, principals: Mapping[str, str], gateway: str = "") -> Observed | None:
    """The request of a line of an access log in Istio's text or JSON format; None for other lines, for what the workload sent, and for
    what a policy has refused.

    principals: identity by address. gateway: the identity of what lets requests into the mesh: it writes the client's address into
    X-Forwarded-For, which is logged in place of its own, with the port 0.
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
        return Observed(principal, address, int(parts[1]))
    return Observed(principal, address, int(parts[1]), method, _general(str(path or "/").partition("?")[0]))


def _general(path: str) -> str:
    """A path with a placeholder for each segment that looks like an identifier."""
    return "/".join("{*}" if _VARIABLE.match(segment) else segment for segment in path.split("/"))


def policy(
    name: str, namespace: str, labels: Mapping[str, str], requests: Iterable[Observed]
) -> tuple[Object, list[str]]:
    """(the ALLOW policy, what a reader should know of it)."""
    counts = Counter(requests)
    known = {one: count for one, count in counts.items() if one.principal}
    operations: dict[tuple[tuple[int, ...], tuple[str, ...], tuple[str, ...]], list[str]] = {}
    notes = [f"{sum(counts.values())} requests observed; those of the last second may not be written yet"]
    for principal in sorted({one.principal for one in known}):
        mine = [one for one in known if one.principal == principal]
        for methods, ports, paths in _operations(mine):
            if len(paths) > _MOST_PATHS:
                notes.append(f"{principal}: {len(paths)} paths, so none is named")
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
    for one, count in counts.items():
        if not one.principal:
            refused[one.address] += count
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
    requests: list[Observed],
) -> list[tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]]:
    """(methods, ports, paths) of one caller's requests; paths with the same methods and ports are together."""
    by_path: dict[tuple[int, str], set[str]] = {}
    for one in requests:
        by_path.setdefault((one.port, one.path), set()).update({one.method} if one.method else ())
    grouped: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for (port, path), methods in sorted(by_path.items()):
        grouped.setdefault((port, tuple(sorted(methods))), []).append(path)
    return [(methods, (port,), tuple(p for p in paths if p)) for (port, methods), paths in grouped.items()]
