"""The entries of an Envoy config dump, as istioctl's tables and as JSON.

The filters, columns and descriptions are istioctl's, for habits and scripts. No I/O here. Source: istio.md 3.1.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
Table = tuple[list[str], list[list[str]]]
Ref = tuple[str, str, str]
"""Kind, namespace and name of an object."""
Rows = Iterator[tuple[list[str], Ref | None]]
"""Rows of a table, each with the object that it was generated from."""
_DUMPS = {
    "listener": "ListenersConfigDump",
    "route": "RoutesConfigDump",
    "cluster": "ClustersConfigDump",
    "endpoint": "EndpointsConfigDump",
    "secret": "SecretsConfigDump",
    "bootstrap": "BootstrapConfigDump",
}
_MANAGER = "envoy.filters.network.http_connection_manager"
_TCP = "envoy.filters.network.tcp_proxy"
_UDP = "envoy.filters.udp_listener.udp_proxy"
_ALPNS = {
    ("http/1.1", "h2c"): "HTTP",
    ("http/1.0", "http/1.1", "h2c"): "HTTP",
    ("istio-http/1.0", "istio-http/1.1", "istio-h2"): "HTTP TLS",
    ("istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "Istio HTTP Plain",
    ("istio-peer-exchange", "istio"): "TCP TLS",
}


def part(dump: Object, name: str) -> Object:
    """The whole dump, or one kind's part of it."""
    if name == "all":
        return dump
    matches = [c for c in dump.get("configs", ()) if c.get("@type", "").endswith("." + _DUMPS[name])]
    return matches[0] if matches else {}


def node(dump: Object) -> Object:
    """The node of the dump's bootstrap."""
    value: Object = part(dump, "bootstrap").get("bootstrap", {}).get("node", {})
    return value


def bootstrap(dump: Object) -> Table:
    """A summary of the proxy: node, versions."""
    result = node(dump)
    version = result.get("user_agent_build_version", {}).get("version", {})
    envoy = ".".join(str(version.get(n, 0)) for n in ("major_number", "minor_number", "patch"))
    facts = [result.get("id"), result.get("cluster"), envoy, result.get("metadata", {}).get("ISTIO_VERSION")]
    names = ("ID", "CLUSTER", "ENVOY", "ISTIO")
    return ["FIELD", "VALUE"], [[name, str(fact or "-")] for name, fact in zip(names, facts, strict=True)]


def entries(dump: Object, name: str, filters: Object) -> list[Object]:
    """The clusters, listeners, route configurations or load assignments of a dump that match the filters (snake_case)."""
    if name == "endpoint" and "cluster_statuses" in dump:
        return [f for c in dump["cluster_statuses"] if (f := _filtered_status(c, filters)) is not None]
    states = [e for field in _FIELDS[name] for e in part(dump, name).get(field, ())]
    if name == "endpoint":
        statuses = [_as_status(s["endpoint_config"]) for s in states if "endpoint_config" in s]
        return [f for c in statuses if (f := _filtered_status(c, filters)) is not None]
    kind = {"cluster": "cluster", "listener": "listener", "route": "route_config"}[name]
    matches = [s.get(kind) or s.get("active_state", {}).get(kind) for s in states]
    return [f for f in matches if f and _WANTED[name](f, filters)]


def differences(wanted: Object, dump: Object) -> Iterator[str]:
    """The differences between the control plane's config dump and Envoy's, one text for each type of resource."""
    for name in ("cluster", "listener", "route"):
        title = name.capitalize() + "s"
        meant, result = (_sent(each, name) for each in (wanted, dump))
        diff = difflib.unified_diff(meant, result, f"Istiod {title}", f"Envoy {title}", lineterm="")
        yield "\n".join(diff) or f"{title} Match"


def _sent(dump: Object, name: str) -> list[str]:
    """The dynamic resources of a type, as lines to compare."""
    field = _FIELDS[name][1]
    only = {"configs": [{"@type": f".{_DUMPS[name]}", field: part(dump, name).get(field, ())}]}
    by_name = {e["name"]: e for e in as_json(name, entries(only, name, {}))}
    return json.dumps(by_name, indent=2, sort_keys=True).splitlines()


_FIELDS = {
    "cluster": ("static_clusters", "dynamic_active_clusters"),
    "listener": ("static_listeners", "dynamic_listeners"),
    "route": ("static_route_configs", "dynamic_route_configs"),
    "endpoint": ("static_endpoint_configs", "dynamic_endpoint_configs"),
}


def tables(dump: Object, name: str, filters: Object) -> Iterator[Table]:
    """The tables of a part; `all` gives clusters, listeners, routes and endpoints."""
    if name == "bootstrap":
        node = part(dump, name).get("bootstrap", {}).get("node", {})
        facts = {
            "ID": node.get("id"),
            "CLUSTER": node.get("cluster"),
            "ENVOY": node.get("user_agent_build_version", {}),
        }
        version = facts["ENVOY"].get("version", {})
        facts["ENVOY"] = ".".join(str(version.get(n, 0)) for n in ("major_number", "minor_number", "patch"))
        facts["ISTIO"] = node.get("metadata", {}).get("ISTIO_VERSION")
        yield ["FIELD", "VALUE"], [[k, str(v or "-")] for k, v in facts.items()]
        return
    if name == "secret":
        yield secrets(part(dump, name))
        return
    makers = {"cluster": clusters, "listener": listeners, "route": routes, "endpoint": endpoints}
    for each in ("cluster", "listener", "route", "endpoint") if name == "all" else (name,):
        yield makers[each](entries(dump, each, filters))


def origin(resource: Object) -> Ref | None:
    """The object that a resource was generated from, from its metadata (`names.config_path`)."""
    source = str(resource.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", ""))
    parts = source.split("/")[-3:]
    if len(parts) != 3:
        return None
    return "".join(word.capitalize() for word in parts[1].split("-")), parts[0], parts[2]


def _name(ref: Ref | None) -> str:
    """NAME.NAMESPACE; empty for none."""
    return f"{ref[2]}.{ref[1]}" if ref else ""


def as_json(name: str, result: list[Object]) -> list[Object]:
    """Entries as istioctl prints them, in protobuf's JSON (camelCase). Messages of unknown types are not converted."""
    from envoy.admin.v3 import clusters_pb2
    from envoy.config.cluster.v3 import cluster_pb2
    from envoy.config.listener.v3 import listener_pb2
    from envoy.config.route.v3 import route_pb2
    from google.protobuf import json_format

    from sailcloth.envoy.features.envoy_filters.compiled import PatchError, import_type, type_urls

    kinds: dict[str, Any] = {
        "cluster": cluster_pb2.Cluster,
        "listener": listener_pb2.Listener,
        "route": route_pb2.RouteConfiguration,
        "endpoint": clusters_pb2.ClusterStatus,
    }
    out = []
    for entry in result:
        try:
            for url in type_urls(entry):
                import_type(url)
            message = json_format.ParseDict(entry, kinds[name](), ignore_unknown_fields=True)
            out.append(json_format.MessageToDict(message))
        except (PatchError, json_format.ParseError):
            out.append(entry)
    return out


# -- clusters -----------------------------------------------------------------------------------


def _wants_cluster(created: Object, filters: Object) -> bool:
    name = created.get("name", "")
    port = f"|{filters['port']}|" if filters.get("port") else ""
    return all(
        str(part or "") in name for part in (filters.get("fqdn"), filters.get("direction"), filters.get("subset"), port)
    )


def clusters(result: list[Object]) -> Table:
    """A row for each cluster."""
    rows = sorted(row for row, _ in cluster_rows(result))
    return ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"], rows


def cluster_rows(result: list[Object]) -> Rows:
    """A row for each cluster."""
    for c in result:
        parts = c.get("name", "").split("|")
        direction, port, subset, host = parts if len(parts) == 4 else ("-", "-", "-", parts[0])
        kind = c.get("type") or c.get("cluster_type", {}).get("name") or "STATIC"
        yield [host, port, subset or "-", direction, kind, _name(origin(c))], origin(c)


# -- listeners ----------------------------------------------------------------------------------


def _socket(address: Object) -> tuple[str, int]:
    socket = address.get("socket_address")
    if socket is None:
        path = address.get("pipe", {}).get("path") or address.get("envoy_internal_address", {}).get(
            "server_listener_name", ""
        )
        return f"unix://{path}" if path.startswith(("/", "@")) else path, 0
    return str(socket.get("address", "")), int(socket.get("port_value", 0))


def _addresses(created: Object) -> list[tuple[str, int]]:
    more = [a.get("address", {}) for a in created.get("additional_addresses", ())]
    return [_socket(a) for a in (created.get("address", {}), *more)]


def _wants_listener(created: Object, filters: Object) -> bool:
    at = _addresses(created)
    if filters.get("port") and filters["port"] not in (port for _, port in at):
        return False
    if filters.get("address") and filters["address"] not in (address for address, _ in at):
        return False
    return not filters.get("type") or filters["type"].upper() == listener_type(created)


def _chains(created: Object) -> list[Object]:
    default = created.get("default_filter_chain")
    return [*created.get("filter_chains", ()), *([default] if default else [])]


def listener_type(created: Object) -> str:
    """HTTP, TCP, HTTP+TCP, UDP or UNKNOWN."""
    if _datagrams(created):
        return "UDP"
    names = {f.get("name", "") for c in _chains(created) for f in c.get("filters", ())}
    return "+".join(t for t, name in (("HTTP", _MANAGER), ("TCP", _TCP)) if name in names) or "UNKNOWN"


def listeners(result: list[Object]) -> Table:
    """A row for each filter chain."""
    rows = []
    for created in result:
        at = _addresses(created)
        address, port = ",".join(dict.fromkeys(a for a, _ in at)), at[0][1]
        if cluster := _datagrams(created):
            rows.append([address, str(port), "UDP", _to(cluster)])
        for chain in [] if cluster else _chains(created) or [{}]:
            rows.append([address, str(port or "-"), _match(chain.get("filter_chain_match", {})), _destination(chain)])
    return ["ADDRESSES", "PORT", "MATCH", "DESTINATION"], sorted(
        rows, key=lambda r: (int(r[1]) if r[1] != "-" else 0, r[0])
    )


def _datagrams(created: Object) -> str:
    """The cluster of a listener for datagrams; empty for any other."""
    matchers = (f["typed_config"]["matcher"] for f in created.get("listener_filters", ()) if f.get("name") == _UDP)
    return next((str(m["on_no_match"]["action"]["typed_config"]["cluster"]) for m in matchers), "")


def _match(match: Object) -> str:
    parts = []
    if match.get("server_names"):
        parts.append("SNI: " + ",".join(match["server_names"]))
    if match.get("transport_protocol"):
        parts.append("Trans: " + match["transport_protocol"])
    if protocols := match.get("application_protocols"):
        parts.append("App: " + _ALPNS.get(tuple(protocols), ",".join(protocols)))
    port = f":{match['destination_port']}" if match.get("destination_port") else ""
    ranges = [f"{p['address_prefix']}/{p.get('prefix_len', 0)}" for p in match.get("prefix_ranges", ())]
    if ranges or port:
        parts.append(f"Addr: {','.join(ranges) or '*'}{port}")
    return "; ".join(parts) or "ALL"


def _destination(chain: Object) -> str:
    for each in chain.get("filters", ()):
        config = each.get("typed_config", {})
        if each.get("name") == _MANAGER:
            if "rds" in config:
                return f"Route: {config['rds'].get('route_config_name', '')}"
            return _inline(config.get("route_config", {})) if "route_config" in config else "HTTP"
        if each.get("name") == _TCP and config.get("cluster") != "BlackHoleCluster":
            weighted = config.get("weighted_clusters", {}).get("clusters", ())
            names = [config["cluster"]] if config.get("cluster") else [c.get("name", "") for c in weighted]
            return _to(",".join(names))
    return "Non-HTTP/Non-TCP"


def _to(cluster: str) -> str:
    return cluster if "Cluster" in cluster else f"Cluster: {cluster}"


def _inline(config: Object) -> str:
    hosts = config.get("virtual_hosts", ())
    routes = [r for h in hosts for r in h.get("routes", ())]
    if (
        len(routes) == 1
        and routes[0].get("match", {}).get("prefix") == "/"
        and routes[0].get("route", {}).get("cluster")
    ):
        return _to(routes[0]["route"]["cluster"])
    told = []
    for host in hosts:
        domains = host.get("domains", [])
        names = "" if domains == ["*"] else "/".join(domains) + " "
        told.append(names + ", ".join(route_match(r.get("match", {})) for r in host.get("routes", ())))
    return "Inline Route: " + "; ".join(told)


# -- routes -------------------------------------------------------------------------------------


def _wants_route(created: Object, filters: Object) -> bool:
    return not filters.get("name") or filters["name"] == created.get("name")


def routes(result: list[Object]) -> Table:
    """A row for each route."""
    rows = [row for row, _ in route_rows(result)]
    return ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"], rows


def route_rows(result: list[Object]) -> Rows:
    """A row for each route."""
    for config in result:
        for host in config.get("virtual_hosts", ()):
            for r in host.get("routes", ()):
                row = [config.get("name", ""), host.get("name", ""), _domains(host.get("domains", []))]
                yield [*row, route_match(r.get("match", {})), _name(origin(r))], origin(r)


def _domains(domains: list[str]) -> str:
    """The domains of a virtual host, without longer forms of the same host."""
    if len(domains) < 2:
        return "".join(domains)
    known = set(domains)
    plain = [d for d in domains if not d.endswith(".") and (d.count(":") != 1)]
    short = [
        d
        for d in plain
        if not any(d.endswith(end) and d.removesuffix(end) in known for end in (".svc.cluster.local", ".svc"))
    ]
    return ", ".join(short[:2]) + (f" + {len(short) - 2} more..." if len(short) > 2 else "")


def route_match(match: Object) -> str:
    """The path match of a route."""
    if "path" in match:
        return str(match["path"])
    if "prefix" in match or "path_separated_prefix" in match:
        return f"{match.get('prefix') or match['path_separated_prefix'] + '/'}*"
    return f"regex {match.get('safe_regex', {}).get('regex', '')}" if "safe_regex" in match else "/*"


# -- endpoints ----------------------------------------------------------------------------------


def _as_status(config: Object) -> Object:
    """A ClusterLoadAssignment in the form of Envoy's /clusters, for dumps without health."""
    hosts = [
        {
            "address": lb.get("endpoint", {}).get("address", {}),
            "health_status": {"eds_health_status": lb.get("health_status", "HEALTHY")},
            "locality": group.get("locality", {}),
        }
        for group in config.get("endpoints", ())
        for lb in group.get("lb_endpoints", ())
    ]
    return {"name": config.get("cluster_name", ""), "host_statuses": hosts}


def _filtered_status(status: Object, filters: Object) -> Object | None:
    """A cluster with its endpoints that match the filters; None if none does."""
    if filters.get("cluster") and filters["cluster"] != status.get("name"):
        return None
    hosts = []
    for host in status.get("host_statuses", ()):
        address, port = _socket(host.get("address", {}))
        wanted = filters.get("status")
        if (
            (not filters.get("port") or filters["port"] == port)
            and (not filters.get("address") or filters["address"] == address)
            and (not wanted or wanted.upper() == health(host))
        ):
            hosts.append(host)
    return {**status, "host_statuses": hosts} if hosts else None


def health(host: Object) -> str:
    """HEALTHY, or why an endpoint is not used."""
    value = host.get("health_status", {})
    told = str(value.get("eds_health_status") or "HEALTHY")
    if told == "HEALTHY" and value.get("failed_active_health_check"):
        return "UNHEALTHY"
    return told


def endpoints(result: list[Object]) -> Table:
    """A row for each endpoint of each cluster."""
    rows = []
    for cluster in result:
        for host in cluster.get("host_statuses", ()):
            address, port = _socket(host.get("address", {}))
            ejected = host.get("health_status", {}).get("failed_outlier_check")
            shown = f"{address}:{port}" if port else address
            rows.append([shown, health(host), "FAILED" if ejected else "OK", cluster.get("name", "")])
    return ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], sorted(rows, key=lambda r: (r[3], r[0]))


_WANTED = {"cluster": _wants_cluster, "listener": _wants_listener, "route": _wants_route}


# -- secrets ------------------------------------------------------------------------------------


def secrets(result: Object) -> Table:
    """A row for each certificate that a proxy has; of a bundle of roots, one for each of them."""
    import base64
    import datetime as dt

    from cryptography import x509

    now, rows = dt.datetime.now(dt.UTC), []
    for state, field in (("ACTIVE", "dynamic_active_secrets"), ("WARMING", "dynamic_warming_secrets")):
        for entry in result.get(field, ()):
            secret = entry.get("secret", {})
            chain = secret.get("tls_certificate", {}).get("certificate_chain", {}).get("inline_bytes")
            roots = secret.get("validation_context", {}).get("trusted_ca", {}).get("inline_bytes")
            start = [entry.get("name", ""), "Cert Chain" if chain else "CA", state]
            found = x509.load_pem_x509_certificates(base64.b64decode(chain or roots)) if chain or roots else []
            rows += [[*start, *_validity(c, now)] for c in (found[:1] if chain else found)]
            rows += [] if found else [[*start, "false", "", "", "", ""]]
    columns = [
        "RESOURCE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
        "TRUST DOMAIN",
    ]
    return columns, rows


def _validity(certificate: Any, now: Any) -> list[str]:
    """Whether it holds now, its serial number, its times, and the trust domain of its name."""
    from cryptography import x509

    span = (certificate.not_valid_after_utc, certificate.not_valid_before_utc)
    times = [t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in span]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    domain = next((u.removeprefix("spiffe://").partition("/")[0] for u in uris if u.startswith("spiffe://")), "")
    return [str(span[1] <= now <= span[0]).lower(), f"{certificate.serial_number:x}", *times, domain]
