"""Envoy's config dumps as istioctl's tables, and the ways to get at them through an API server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from . import output

T = TypeVar("T")
Table = tuple[list[str], list[list[str]]]
_DUMPS = {
    "listener": "ListenersConfigDump",
    "route": "RoutesConfigDump",
    "cluster": "ClustersConfigDump",
    "endpoint": "EndpointsConfigDump",
    "secret": "SecretsConfigDump",
    "bootstrap": "BootstrapConfigDump",
}


def part(dump: dict[str, Any], name: str) -> Any:
    """The whole dump, or one kind's part of it."""
    if name == "all":
        return dump
    found = [c for c in dump.get("configs", ()) if c.get("@type", "").endswith("." + _DUMPS[name])]
    return found[0] if found else {}


def tables(dump: dict[str, Any], name: str, filters: dict[str, Any]) -> Iterator[Table]:
    """The tables of a part; `all` gives clusters, listeners, routes and endpoints."""
    makers = {"cluster": clusters, "listener": listeners, "route": routes, "endpoint": endpoints, "secret": secrets}
    if name == "bootstrap":
        node = part(dump, name).get("bootstrap", {}).get("node", {})
        yield ["FIELD", "VALUE"], [[k, str(v)] for k, v in node.items() if k in ("id", "cluster")]
        return
    for each in ("cluster", "listener", "route", "endpoint") if name == "all" else (name,):
        yield makers[each](part(dump, each), filters)


def _active(found: dict[str, Any], *fields: str) -> Iterator[dict[str, Any]]:
    for field in fields:
        yield from found.get(field, ())


def clusters(found: dict[str, Any], filters: dict[str, Any]) -> Table:
    rows = []
    for entry in _active(found, "static_clusters", "dynamic_active_clusters"):
        c = entry.get("cluster", {})
        parts = c.get("name", "").split("|")
        host, port, subset, direction = (
            (parts[3], parts[1], parts[2], parts[0]) if len(parts) == 4 else (parts[0], "-", "-", "-")
        )
        wanted = (
            (filters.get("fqdn") or host) in host
            and str(filters.get("port") or port) == port
            and (filters.get("subset") or subset) == subset
            and (filters.get("direction") or direction) == direction
        )
        config = c.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", "")
        rule = ".".join(reversed(config.split("/")[-3::2])) if config else ""
        if wanted:
            rows.append([host, port, subset or "-", direction, c.get("type", "STATIC"), rule])
    return ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"], sorted(rows)


def listeners(found: dict[str, Any], filters: dict[str, Any]) -> Table:
    rows = []
    for entry in _active(found, "static_listeners", "dynamic_listeners"):
        made = entry.get("listener") or entry.get("active_state", {}).get("listener", {})
        address = made.get("address", {}).get("socket_address", {})
        if filters.get("port") and filters["port"] != address.get("port_value"):
            continue
        chains = [*made.get("filter_chains", ())]
        default = made.get("default_filter_chain")
        for chain in [*chains, *([default] if default else [])]:
            rows.append(
                [
                    str(address.get("address", "")),
                    str(address.get("port_value", "")),
                    _match(chain.get("filter_chain_match", {})),
                    _destination(chain),
                ]
            )
    return ["ADDRESSES", "PORT", "MATCH", "DESTINATION"], sorted(rows, key=lambda r: (int(r[1] or 0), r[0]))


def _match(match: dict[str, Any]) -> str:
    parts: list[str] = []
    if match.get("server_names"):
        parts.append("SNI: " + ",".join(match["server_names"]))
    if match.get("transport_protocol"):
        parts.append("Trans: " + match["transport_protocol"])
    if match.get("application_protocols"):
        parts.append("App: " + ",".join(match["application_protocols"]))
    if match.get("destination_port"):
        parts.append(f"Addr: *:{match['destination_port']}")
    parts += [f"{p['address_prefix']}/{p.get('prefix_len', 32)}" for p in match.get("prefix_ranges", ())]
    return "; ".join(parts) or "ALL"


def _destination(chain: dict[str, Any]) -> str:
    for each in chain.get("filters", ()):
        config = each.get("typed_config", {})
        if "rds" in config:
            return f"Route: {config['rds']['route_config_name']}"
        if "route_config" in config:
            return "Inline Route: " + ",".join(
                d for v in config["route_config"].get("virtual_hosts", ()) for d in v.get("domains", ())
            )
        if "cluster" in config:
            return f"Cluster: {config['cluster']}"
    return "Non-HTTP/Non-TCP"


def routes(found: dict[str, Any], filters: dict[str, Any]) -> Table:
    rows = []
    for entry in _active(found, "dynamic_route_configs", "static_route_configs"):
        config = entry.get("route_config", {})
        if filters.get("name") and filters["name"] != config.get("name"):
            continue
        for host in config.get("virtual_hosts", ()):
            domains = host.get("domains", [])
            shown = domains[0] + (f" + {len(domains) - 1} more..." if len(domains) > 1 else "") if domains else ""
            for route in host.get("routes", ()):
                source = route.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", "")
                service = ".".join(reversed(source.split("/")[-3::2])) if source else ""
                rows.append(
                    [config.get("name", ""), host.get("name", ""), shown, _route_match(route.get("match", {})), service]
                )
    return ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"], rows


def _route_match(match: dict[str, Any]) -> str:
    if "path" in match:
        return str(match["path"])
    if "prefix" in match:
        return f"{match['prefix']}*"
    return f"regex {match.get('safe_regex', {}).get('regex', '')}"


def endpoints(found: dict[str, Any], filters: dict[str, Any]) -> Table:
    rows = []
    for entry in _active(found, "static_endpoint_configs", "dynamic_endpoint_configs"):
        config = entry.get("endpoint_config", {})
        name = config.get("cluster_name", "")
        if filters.get("cluster") and filters["cluster"] != name:
            continue
        for group in config.get("endpoints", ()):
            for lb in group.get("lb_endpoints", ()):
                address = lb.get("endpoint", {}).get("address", {})
                socket = address.get("socket_address", {})
                where = (
                    f"{socket.get('address')}:{socket.get('port_value')}"
                    if socket
                    else "unix://" + address.get("pipe", {}).get("path", "")
                )
                if not filters.get("port") or filters["port"] == socket.get("port_value"):
                    rows.append([where, lb.get("health_status", "HEALTHY"), "OK", name])
    return ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], sorted(rows, key=lambda r: (r[3], r[0]))


def secrets(found: dict[str, Any], filters: dict[str, Any]) -> Table:
    import base64
    import datetime as dt

    from cryptography import x509

    rows = []
    for state, field in (("ACTIVE", "dynamic_active_secrets"), ("WARMING", "dynamic_warming_secrets")):
        for entry in found.get(field, ()):
            secret = entry.get("secret", {})
            chain = secret.get("tls_certificate", {}).get("certificate_chain", {}).get("inline_bytes")
            roots = secret.get("validation_context", {}).get("trusted_ca", {}).get("inline_bytes")
            kind = "Cert Chain" if chain else "CA"
            row = [entry.get("name", ""), kind, state, "false", "", "", ""]
            if chain or roots:
                leaf = x509.load_pem_x509_certificate(base64.b64decode(chain or roots))
                now = dt.datetime.now(dt.UTC)
                valid = leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
                times = [
                    t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in (leaf.not_valid_after_utc, leaf.not_valid_before_utc)
                ]
                row[3:] = [str(valid).lower(), f"{leaf.serial_number:x}", *times]
            rows.append(row)
    return ["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"], rows


# -- from a cluster -----------------------------------------------------------------------------


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; errors of the API server become plain messages."""
    import aiohttp

    from sailcloth.kube import ApiError

    try:
        return asyncio.run(work)
    except ApiError as error:
        output.fail(error.message or f"{error.status} {error.reason}")
    except (OSError, ValueError, aiohttp.ClientError) as error:
        output.fail(str(error))


def fetch(pod: str, namespace: str, kubeconfig: str) -> dict[str, Any]:
    """The config dump of a pod's Envoy, endpoints included."""
    import json

    return dict(json.loads(run(admin(pod, namespace, kubeconfig, "GET", "/config_dump?include_eds"))))


def logging(pod: str, namespace: str, kubeconfig: str, level: str) -> str:
    """Envoy's loggers and levels, after setting `level` (a level for all, or logger:level by comma)."""
    query = ""
    if level:
        query = "?" + (f"level={level}" if ":" not in level else "paths=" + level)
    return run(admin(pod, namespace, kubeconfig, "POST", "/logging" + query))


async def admin(pod: str, namespace: str, kubeconfig: str, method: str, path: str) -> str:
    """A request to the admin interface of a pod's Envoy, through the API server's port-forward."""
    from .cluster import admin_request

    return await admin_request(pod, namespace, kubeconfig, method, path)


def names(pod: str, namespace: str, kubeconfig: str) -> dict[str, list[str]]:
    """Addresses by name that a pod's agent answers itself; empty if it does not capture DNS."""
    from .cluster import names_of

    found: dict[str, Any] = run(names_of(pod, namespace, kubeconfig))
    return {host: list(info["ips"]) for host, info in found["table"].items()}


def sync_status(kubeconfig: str) -> list[dict[str, Any]]:
    """The control plane's view of every connected proxy."""
    from .cluster import debug

    return list(run(debug(kubeconfig, "/debug/syncz")))
