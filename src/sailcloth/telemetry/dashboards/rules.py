"""Recording and alerting rules, as a rule file of Prometheus or as a PrometheusRule."""

from __future__ import annotations

from typing import Any

_COUNTERS = (
    "istio_requests_total",
    "istio_request_duration_milliseconds_bucket",
    "istio_request_duration_milliseconds_sum",
    "istio_request_duration_milliseconds_count",
    "istio_request_bytes_bucket",
    "istio_request_bytes_sum",
    "istio_request_bytes_count",
    "istio_response_bytes_bucket",
    "istio_response_bytes_sum",
    "istio_response_bytes_count",
    "istio_tcp_sent_bytes_total",
    "istio_tcp_received_bytes_total",
    "istio_tcp_connections_opened_total",
    "istio_tcp_connections_closed_total",
)


def recording() -> dict[str, Any]:
    """Series of workloads, without those of single pods: what Istio advises for large meshes and for federation."""
    return {
        "name": "istio.recording-rules",
        "interval": "5s",
        "rules": [
            {"record": f"workload:{name}", "expr": f"sum without(instance, namespace, pod) ({name})"}
            for name in _COUNTERS
        ],
    }


def _alert(name: str, expr: str, lasting: str, severity: str, summary: str) -> dict[str, Any]:
    labels, notes = {"severity": severity}, {"summary": summary}
    return {"alert": name, "expr": expr, "for": lasting, "labels": labels, "annotations": notes}


def alerting() -> dict[str, Any]:
    """What somebody should look at."""
    by = "destination_workload, destination_workload_namespace"
    failing = (
        f'sum(rate(istio_requests_total{{reporter="destination",response_code=~"5.*"}}[5m])) by ({by})'
        f' / sum(rate(istio_requests_total{{reporter="destination"}}[5m])) by ({by}) > 0.05'
    )
    return {
        "name": "istio.alerting-rules",
        "rules": [
            _alert(
                "WorkloadErrors",
                failing,
                "5m",
                "warning",
                "{{ $labels.destination_workload }}.{{ $labels.destination_workload_namespace }} answers"
                " {{ $value | humanizePercentage }} of requests with 5xx",
            ),
            _alert(
                "ProxiesRefuse",
                "sum(increase(pilot_total_xds_rejects[5m])) > 0",
                "1m",
                "warning",
                "proxies refuse what the control plane sends; sailctl proxy-status says which, the objects' statuses why",
            ),
            _alert(
                "SlowConvergence",
                "histogram_quantile(0.99, sum(rate(pilot_proxy_convergence_time_bucket[5m])) by (le)) > 10",
                "5m",
                "warning",
                "changes take more than ten seconds to reach proxies",
            ),
            _alert(
                "RootCertificateEnds",
                "citadel_server_root_cert_expiry_seconds < 30 * 86400",
                "1h",
                "critical",
                "the mesh's root certificate ends within 30 days; see sailctl ca status",
            ),
            _alert("ControlPlaneDown", 'up{job="istiod"} == 0', "1m", "critical", "the control plane is not scraped"),
        ],
    }


def rule_file() -> dict[str, Any]:
    """A rule file of Prometheus."""
    return {"groups": [recording(), alerting()]}


def prometheus_rule(namespace: str) -> dict[str, Any]:
    """The same for the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sailcloth", "namespace": namespace, "labels": {"app": "telemetry"}},
        "spec": rule_file(),
    }
