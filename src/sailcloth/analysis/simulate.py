"""Simulates how Envoy routes a call through a proxy's configuration: listener, filter chain, route, cluster.

It covers the configuration that the mesh generates, not all of Envoy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

Protocol = Literal["http", "http2", "tcp"]
Tls = Literal["plaintext", "tls", "mtls"]


@dataclass(frozen=True)
class Call:
    """One call. `mode`: the side of the proxy that receives it."""

    port: int
    protocol: Protocol = "http"
    tls: Tls = "plaintext"
    address: str = "1.3.3.7"
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    sni: str = ""
    alpn: str = ""
    mode: Literal["outbound", "inbound", "gateway"] = "outbound"
    secret: str = "default"  # noqa: S105  name of the SDS secret that the server of a mutual TLS call must present


@dataclass(frozen=True)
class Result:
    """The matched objects and the destination clusters (all of a weighted route); `error`: why there are none.

    Direct responses and redirects have a `status`; redirects have the parts of `location` that the route sets.
    """

    listener: str = ""
    filter_chain: str = ""
    route_config: str = ""
    virtual_host: str = ""
    route: str = ""
    clusters: tuple[str, ...] = ()
    error: str = ""
    status: int = 0
    location: str = ""
    entry: dict[str, Any] | None = field(default=None, compare=False)  # the route as it is configured
    # Routes that did not match, and why
    before: tuple[tuple[dict[str, Any], str], ...] = field(default=(), compare=False)

    @property
    def cluster(self) -> str:
        return self.clusters[0] if self.clusters else ""


def _is_mutual(chain: dict[str, Any], secret: str) -> bool:
    """Whether a chain requires client certificates and presents the given secret."""
    context = chain["transport_socket"]["typed_config"]
    shown = context["common_tls_context"].get("tls_certificate_sds_secret_configs", ())
    return bool(context.get("require_client_certificate")) and any(s["name"] == secret for s in shown)


class Simulator:
    """Simulates one proxy from its config dump (the shape of `analysis.offline.config_dump`)."""

    def __init__(self, dump: dict[str, Any]) -> None:
        parts = {c["@type"].rsplit(".", 1)[-1]: c for c in dump["configs"]}
        self.listeners = [e["active_state"]["listener"] for e in parts["ListenersConfigDump"]["dynamic_listeners"]]
        self.routes = {
            e["route_config"]["name"]: e["route_config"] for e in parts["RoutesConfigDump"]["dynamic_route_configs"]
        }
        self.clusters = {e["cluster"]["name"] for e in parts["ClustersConfigDump"]["dynamic_active_clusters"]}

    def run(self, call: Call) -> Result:
        """Route the call."""
        listener = self._listener(call)
        if listener is None:
            return Result(error="no listener matched")
        name = listener["name"]
        chain, error = self._chain(listener, call)
        if chain is None:
            return Result(listener=name, error=error)
        if "transport_socket" in chain and call.tls == "plaintext":
            return Result(listener=name, filter_chain=chain.get("name", ""), error="protocol error")
        if "transport_socket" in chain and _is_mutual(chain, call.secret) != (call.tls == "mtls"):
            return Result(listener=name, filter_chain=chain.get("name", ""), error="invalid mTLS")
        for each in chain["filters"]:
            config = each["typed_config"]
            if "TcpProxy" in config["@type"]:
                several = config.get("weighted_clusters", {}).get("clusters", ())
                return Result(
                    name, chain.get("name", ""), clusters=tuple(c["name"] for c in several) or (config["cluster"],)
                )
            if "HttpConnectionManager" in config["@type"]:
                return self._http(name, chain, config, call)
        return Result(listener=name, error="no filter")

    def _listener(self, call: Call) -> dict[str, Any] | None:
        by_name = {entry["name"]: entry for entry in self.listeners}
        if call.mode == "inbound":
            return by_name.get("virtualInbound")

        def at(address: str) -> dict[str, Any] | None:
            for entry in self.listeners:
                socket_address = entry["address"]["socket_address"]
                virtual = entry.get("use_original_dst") or entry["name"] == "virtualInbound"
                if (socket_address["address"], socket_address["port_value"]) == (address, call.port) and not virtual:
                    return dict(entry)
            return None

        return (
            at(call.address) or at("0.0.0.0") or (by_name.get("virtualOutbound") if call.mode == "outbound" else None)
        )

    # -- filter chains --------------------------------------------------------------------------

    def _chain(self, listener: dict[str, Any], call: Call) -> tuple[dict[str, Any] | None, str]:
        inspectors = {f["name"].rsplit(".", 1)[-1] for f in listener.get("listener_filters", ())}
        transport = "tls" if call.tls != "plaintext" and "tls_inspector" in inspectors else "raw_buffer"
        alpn = call.alpn or self._alpn(call)
        if call.tls == "plaintext" and "http_inspector" not in inspectors:
            alpn = ""
        if call.tls != "plaintext" and "tls_inspector" not in inspectors:
            alpn = ""
        sni = call.sni or (call.host if call.tls == "tls" else "")
        chains = listener.get("filter_chains", [])
        steps: tuple[tuple[str, Callable[[Any], bool]], ...] = (
            ("destination_port", lambda v: v == call.port),
            ("prefix_ranges", lambda v: _in(call.address, v)),
            ("server_names", lambda v: bool(sni) and any(_sni(p, sni) for p in v)),
            ("transport_protocol", lambda v: v == transport),
            ("application_protocols", lambda v: alpn in v),
        )
        for field_name, predicate in steps:
            criteria = [(c, c.get("filter_chain_match", {}).get(field_name)) for c in chains]
            exact = [c for c, value in criteria if value and predicate(value)]
            if field_name == "prefix_ranges" and exact:
                lengths = [_length(call.address, c["filter_chain_match"][field_name]) for c in exact]
                exact = [c for c, length in zip(exact, lengths, strict=True) if length == max(lengths)]
            if field_name == "server_names" and exact:  # the exact name, else the longest matching wildcard
                fits = [[p for p in c["filter_chain_match"][field_name] if _sni(p, sni)] for c in exact]
                best = max((p == sni, len(p)) for patterns in fits for p in patterns)
                exact = [
                    c for c, patterns in zip(exact, fits, strict=True) if best in [(p == sni, len(p)) for p in patterns]
                ]
            chains = exact or [c for c, value in criteria if not value]
        if len(chains) > 1:
            return None, "multiple filter chains matched"
        if chains:
            return chains[0], ""
        default = listener.get("default_filter_chain")
        return (default, "") if default else (None, "no filter chains matched")

    @staticmethod
    def _alpn(call: Call) -> str:
        if call.tls == "mtls":
            return {"http": "istio-http/1.1", "http2": "istio-h2", "tcp": "istio"}[call.protocol]
        if call.tls == "tls":
            return {"http": "http/1.1", "http2": "h2", "tcp": ""}[call.protocol]
        return {"http": "http/1.1", "http2": "h2c", "tcp": ""}[call.protocol]

    # -- HTTP -----------------------------------------------------------------------------------

    def _http(self, listener: str, chain: dict[str, Any], manager: dict[str, Any], call: Call) -> Result:
        name = chain.get("name", "")
        if call.protocol == "tcp" or (call.tls != "plaintext" and "transport_socket" not in chain):
            return Result(listener, name, error="protocol error")
        if "rds" in manager:
            config = self.routes.get(manager["rds"]["route_config_name"])
            if config is None:
                return Result(listener, name, manager["rds"]["route_config_name"], error="no route config")
        else:
            config = manager["route_config"]
        result = Result(listener, name, config["name"])
        host = _virtual_host(config, call)
        if host is None:
            return Result(listener, name, config["name"], error="no virtual host matched")
        result = Result(listener, name, config["name"], host["name"])
        if host.get("require_tls") == "ALL" and call.tls == "plaintext":
            return Result(listener, name, config["name"], host["name"], error="tls required, sending 301")
        before: list[tuple[dict[str, Any], str]] = []
        for route in host.get("routes", ()):
            reason = mismatch(route["match"], call)
            if reason:
                before.append((route, reason))
                continue
            location = (listener, name, config["name"], host["name"], route.get("name", ""))
            found = {"entry": route, "before": tuple(before)}
            if "redirect" in route:
                return Result(*location, status=_status(route["redirect"]), location=_location(route, call), **found)
            status = route.get("direct_response", {}).get("status", 0)
            return Result(*location, _clusters(route), status=status, **found)
        return Result(
            result.listener, name, config["name"], host["name"], error="no route matched", before=tuple(before)
        )


def _in(address: str, ranges: list[dict[str, Any]]) -> bool:
    ip = ipaddress.ip_address(address)
    return any(
        ip in ipaddress.ip_network(f"{r['address_prefix']}/{r.get('prefix_len', 32)}", strict=False) for r in ranges
    )


def _length(address: str, ranges: list[dict[str, Any]]) -> int:
    return max((r.get("prefix_len", 32) for r in ranges if _in(address, [r])), default=-1)


def _sni(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def _virtual_host(config: dict[str, Any], call: Call) -> dict[str, Any] | None:
    host = call.host.lower() or call.address
    if config.get("ignore_port_in_host_matching") and host.rpartition(":")[2].isdigit() and host.count(":") == 1:
        host = host.rpartition(":")[0]
    best: tuple[int, int, dict[str, Any]] | None = None
    for vhost in config.get("virtual_hosts", ()):
        for domain in vhost["domains"]:
            if domain.lower() == host:
                rank = (3, len(domain))
            elif domain == "*":
                rank = (0, 0)
            elif domain.startswith("*") and host.endswith(domain[1:].lower()) and len(host) >= len(domain):
                rank = (2, len(domain))
            else:
                continue
            if best is None or rank > best[:2]:
                best = (*rank, vhost)
    return best[2] if best else None


def mismatch(match: dict[str, Any], call: Call) -> str:
    """The first criterion of a route that a call does not meet, in words; empty if it meets all."""
    path, _, query = call.path.partition("?")
    fold = str.lower if match.get("case_sensitive") is False else str
    if "path" in match and fold(path) != fold(match["path"]):
        return f"the path is not {match['path']}"
    if "prefix" in match and not fold(path).startswith(fold(match["prefix"])):
        return f"the path does not start with {match['prefix']}"
    segments = fold(match.get("path_separated_prefix", ""))
    if segments and fold(path) != segments and not fold(path).startswith(segments + "/"):
        return f"the path is not {segments} or below it"
    if "safe_regex" in match and not re.fullmatch(match["safe_regex"]["regex"], path):
        return f"the path does not match {match['safe_regex']['regex']}"
    headers = {k.lower(): v for k, v in call.headers.items()}
    scheme = "http" if call.tls == "plaintext" else "https"
    headers |= {":method": call.method, ":authority": call.host, ":path": call.path, ":scheme": scheme}
    parameters = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first of a name counts
    for matcher in match.get("headers", ()):
        if not _header(matcher, headers):
            return (
                f"header {matcher['name']} {_wanted(matcher)}, and is {headers.get(matcher['name'].lower(), 'missing')}"
            )
    for matcher in match.get("query_parameters", ()):
        if not _parameter(matcher, parameters):
            return f"query parameter {matcher['name']} {_wanted(matcher)}"
    return ""


def _wanted(matcher: dict[str, Any]) -> str:
    """What a matcher demands, in words."""
    never = "must not " if matcher.get("invert_match") else "must "
    if "present_match" in matcher:
        return f"{never if matcher['present_match'] else 'must not '}be there"
    text = matcher.get("string_match", {})
    for key, words in (("exact", "be"), ("prefix", "start with")):
        if key in text:
            return f"{never}{words} {text[key]}"
    return f"{never}match {text.get('safe_regex', {}).get('regex', '')}"


def _parameter(matcher: dict[str, Any], parameters: dict[str, str]) -> bool:
    value = parameters.get(matcher["name"])
    return value is not None and ("present_match" in matcher or _string(matcher["string_match"], value))


def _header(matcher: dict[str, Any], headers: dict[str, str]) -> bool:
    value = headers.get(matcher["name"].lower(), "" if matcher.get("treat_missing_header_as_empty") else None)
    if "present_match" in matcher:
        matches = (value is not None) == bool(matcher["present_match"])
    else:
        matches = value is not None and _string(matcher.get("string_match", {}), value)
    return matches != bool(matcher.get("invert_match", False))


def _string(matcher: dict[str, Any], value: str) -> bool:
    if "exact" in matcher:
        return value == str(matcher["exact"])
    if "prefix" in matcher:
        return value.startswith(matcher["prefix"])
    return re.fullmatch(matcher.get("safe_regex", {}).get("regex", ""), value) is not None


_REDIRECTS = {"FOUND": 302, "SEE_OTHER": 303, "TEMPORARY_REDIRECT": 307, "PERMANENT_REDIRECT": 308}


def _status(redirect: dict[str, Any]) -> int:
    return _REDIRECTS.get(redirect.get("response_code", ""), 301)


def _location(route: dict[str, Any], call: Call) -> str:
    """The URL of a redirect: what the route does not set comes from the request."""
    redirect = route["redirect"]
    scheme = (
        "https"
        if redirect.get("https_redirect")
        else redirect.get("scheme_redirect") or ("http" if call.tls == "plaintext" else "https")
    )
    host = redirect.get("host_redirect") or call.host
    if redirect.get("port_redirect"):
        host = f"{host.partition(':')[0]}:{redirect['port_redirect']}"
    path = redirect.get("path_redirect") or call.path
    query = call.path.partition("?")[2]
    if "path_redirect" in redirect and query and "?" not in path and not redirect.get("strip_query"):
        path = f"{path}?{query}"
    if "prefix_rewrite" in redirect:
        match = route["match"]
        matched = match.get("prefix") or match.get("path_separated_prefix") or match.get("path", "")
        path = redirect["prefix_rewrite"] + call.path[len(matched) :]
    return f"{scheme}://{host}{path}"


def _clusters(route: dict[str, Any]) -> tuple[str, ...]:
    action = route.get("route", {})
    if "cluster" in action:
        return (action["cluster"],)
    return tuple(c["name"] for c in action.get("weighted_clusters", {}).get("clusters", ()))
