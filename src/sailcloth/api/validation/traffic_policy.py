"""Validates traffic policies: connection pools, outlier detection, client TLS, tunnels. `load_balancing` validates the rest."""

from __future__ import annotations

from typing import Any

from sailcloth.api.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    HTTPSettings,
    OutlierDetection,
    PortTrafficPolicy,
    RetryBudget,
    TCPSettings,
    TrafficPolicy,
    TunnelSettings,
)

from . import codes, durations, hosts, load_balancing, ports
from .report import Report

_LARGEST = 0xFFFFFFFF
_LONGEST_SNI = 255  # maximum length of a DNS name


def check(report: Report, path: str, policy: TrafficPolicy | None) -> None:
    """The policy of a host or subset."""
    if policy is None:
        return
    _blocks(report, path, policy)
    for index, setting in enumerate(policy.port_level_settings):
        at = f"{path}.portLevelSettings[{index}]"
        if setting.port is None or setting.port.number is None:
            report.error(codes.REQUIRED, f"{at}.port", "the port is missing", "Give port.number.")
        else:
            ports.check_number(report, f"{at}.port.number", setting.port.number)
        _blocks(report, at, setting, but=("port",))
    if policy.tunnel is not None:
        _tunnel(report, f"{path}.tunnel", policy.tunnel)
        if policy.proxy_protocol is not None:
            report.error(codes.CONFLICT, path, "tunnel and proxyProtocol are mutually exclusive", "Keep one of them.")


def _blocks(report: Report, path: str, policy: TrafficPolicy | PortTrafficPolicy, but: tuple[str, ...] = ()) -> None:
    """The common part of host and port policies. Rejects a policy without any field, as Istio does."""
    if all(not getattr(policy, f) for f in policy.__struct_fields__ if f not in but):
        report.error(codes.REQUIRED, path, "the policy sets nothing", "Give at least one field, or remove the policy.")
    load_balancing.check(report, f"{path}.loadBalancer", policy.load_balancer, policy.outlier_detection is not None)
    check_pool(report, f"{path}.connectionPool", policy.connection_pool)
    _outliers(report, f"{path}.outlierDetection", policy.outlier_detection)
    _tls(report, f"{path}.tls", policy.tls)
    _retry_budget(report, f"{path}.retryBudget", policy.retry_budget)


def check_pool(report: Report, path: str, pool: ConnectionPoolSettings | None) -> None:
    """Limits for connections and requests."""
    if pool is None:
        return
    if pool.tcp is None and pool.http is None:
        report.error(codes.REQUIRED, path, "the connection pool sets nothing", "Give tcp or http.")
    if pool.http is not None:
        _http(report, f"{path}.http", pool.http)
    if pool.tcp is not None:
        _tcp(report, f"{path}.tcp", pool.tcp)


def _http(report: Report, path: str, http: HTTPSettings) -> None:
    for field, value in (
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ):
        _count(report, f"{path}.{field}", value)
    durations.check(report, f"{path}.idleTimeout", http.idle_timeout, zero=True)
    if http.h2_upgrade_policy == "UPGRADE" and http.use_client_protocol:
        text = "h2UpgradePolicy UPGRADE and useClientProtocol are mutually exclusive"
        report.error(codes.CONFLICT, f"{path}.useClientProtocol", text, "Keep one of them.")
    if http.http2_keep_alive is not None:
        durations.check(report, f"{path}.http2KeepAlive.interval", http.http2_keep_alive.interval)
        durations.check(report, f"{path}.http2KeepAlive.timeout", http.http2_keep_alive.timeout)


def _tcp(report: Report, path: str, tcp: TCPSettings) -> None:
    _count(report, f"{path}.maxConnections", tcp.max_connections)
    durations.check(report, f"{path}.connectTimeout", tcp.connect_timeout)
    durations.check(report, f"{path}.maxConnectionDuration", tcp.max_connection_duration)
    durations.check(report, f"{path}.idleTimeout", tcp.idle_timeout, zero=True)
    keepalive = tcp.tcp_keepalive
    if keepalive is not None:
        _count(report, f"{path}.tcpKeepalive.probes", keepalive.probes)
        durations.check(report, f"{path}.tcpKeepalive.time", keepalive.time)
        durations.check(report, f"{path}.tcpKeepalive.interval", keepalive.interval)


def _count(report: Report, path: str, value: int | None) -> None:
    if value is None:
        return
    if value < 0:
        report.error(codes.RANGE, path, f"{value} is negative", "Give 0 or more.")
    elif value > _LARGEST:
        report.error(codes.RANGE, path, f"{value} is more than {_LARGEST}", "Give less.")


def _outliers(report: Report, path: str, outliers: OutlierDetection | None) -> None:
    if outliers is None:
        return
    durations.check(report, f"{path}.interval", outliers.interval)
    durations.check(report, f"{path}.baseEjectionTime", outliers.base_ejection_time)
    for field, value in (
        ("consecutiveErrors", outliers.consecutive_errors),
        ("consecutiveGatewayErrors", outliers.consecutive_gateway_errors),
        ("consecutive5xxErrors", outliers.consecutive_5xx_errors),
        ("consecutiveLocalOriginFailures", outliers.consecutive_local_origin_failures),
    ):
        _count(report, f"{path}.{field}", value)
    if outliers.consecutive_errors:
        text = "consecutiveErrors is deprecated"
        fix = "Use consecutiveGatewayErrors or consecutive5xxErrors."
        report.warning(codes.DEPRECATED, f"{path}.consecutiveErrors", text, fix)
    if outliers.consecutive_local_origin_failures and not outliers.split_external_local_origin_errors:
        text = "local-origin failures are counted only if splitExternalLocalOriginErrors is true"
        fix = "Set splitExternalLocalOriginErrors, or remove this."
        report.error(codes.CONFLICT, f"{path}.consecutiveLocalOriginFailures", text, fix)
    for field, percent in (
        ("maxEjectionPercent", outliers.max_ejection_percent),
        ("minHealthPercent", outliers.min_health_percent),
    ):
        if percent is not None and not 0 <= percent <= 100:
            report.error(codes.RANGE, f"{path}.{field}", f"{percent} is not in the range 0-100", "Give 0 to 100.")


def _tls(report: Report, path: str, tls: ClientTLSSettings | None) -> None:
    if tls is None:
        return
    if tls.insecure_skip_verify:
        _unverified(report, path, tls)
    if tls.sni and len(tls.sni) > _LONGEST_SNI:
        text = f"the server name has {len(tls.sni)} characters, at most {_LONGEST_SNI} are allowed"
        report.error(codes.SIZE, f"{path}.sni", text, "Shorten it.")
    files: tuple[tuple[str, Any], ...] = (
        ("clientCertificate", tls.client_certificate),
        ("privateKey", tls.private_key),
        ("caCertificates", tls.ca_certificates),
        ("caCrl", tls.ca_crl),
    )
    if tls.mode in ("SIMPLE", "MUTUAL") and tls.credential_name:
        for name, value in files:
            if value:
                text = f"{name} and credentialName are mutually exclusive"
                report.error(codes.TLS, f"{path}.{name}", text, "Keep one of them.")
    elif tls.mode == "MUTUAL":
        for name, value in files[:2]:
            if not value:
                text = f"mode MUTUAL needs a {name}"
                report.error(codes.TLS, f"{path}.{name}", text, "Give the file, or a credentialName.")


def _unverified(report: Report, path: str, tls: ClientTLSSettings) -> None:
    """Settings that have no effect without verification."""
    wrong: list[tuple[str, Any]] = [("subjectAltNames", tls.subject_alt_names), ("caCertificates", tls.ca_certificates)]
    if tls.mode == "SIMPLE":
        wrong.append(("credentialName", tls.credential_name))
    for name, value in wrong:
        if value and tls.mode in ("SIMPLE", "MUTUAL"):
            text = f"{name} has no effect with insecureSkipVerify"
            report.error(codes.TLS, f"{path}.{name}", text, "Remove one of them.")


def _retry_budget(report: Report, path: str, budget: RetryBudget | None) -> None:
    if budget is None:
        return
    if budget.percent is not None and not 0 <= budget.percent <= 100:
        text = f"{budget.percent} is not in the range 0-100"
        report.error(codes.RANGE, f"{path}.percent", text, "Give 0 to 100.")
    _count(report, f"{path}.minRetryConcurrency", budget.min_retry_concurrency)
    durations.check(report, f"{path}.budgetInterval", budget.budget_interval, zero=True)


def _tunnel(report: Report, path: str, tunnel: TunnelSettings) -> None:
    if tunnel.protocol not in (None, "", "CONNECT", "POST"):
        text = f"protocol {tunnel.protocol!r} is not supported"
        report.error(codes.CHOICE, f"{path}.protocol", text, "Use CONNECT or POST.")
    if not tunnel.target_host:
        report.error(codes.REQUIRED, f"{path}.targetHost", "the target has no host", "Give its name or address.")
    elif not hosts.is_ip(tunnel.target_host):
        hosts.check(report, f"{path}.targetHost", tunnel.target_host, wildcard=False)
    ports.check_number(report, f"{path}.targetPort", tunnel.target_port)
