"""Dashboards of the mesh itself: its cost, its control plane, how changes spread, its certificates."""

from __future__ import annotations

from .panels import QUANTILES, VERSIONS, Dashboard, Panel, Query, Row, panel, rate

_DESTINATION = 'reporter="destination"'
_ENVOY_MEMORY = "sum(envoy_server_memory_allocated) by (pod)"
_SCRAPED = 'scrape_samples_scraped{job="kubernetes-pods"}'
_MEMORY = 'process_resident_memory_bytes{job="istiod"}'
_CPU = 'rate(process_cpu_seconds_total{job="istiod"}[$window])'

PERFORMANCE = Dashboard(
    "sailcloth-performance",
    "Istio Performance Dashboard",
    (
        Row(
            "Control plane",
            (
                panel("vCPU", _CPU, legend="istiod"),
                panel("Memory", _MEMORY, "bytes", "istiod"),
                panel("Open files", 'process_open_fds{job="istiod"}', legend="istiod"),
            ),
        ),
        Row(
            "Proxies",
            (
                panel("Memory of Envoy", _ENVOY_MEMORY, "bytes", "{{pod}}", needs="proxies"),
                panel("Requests of all sidecars", rate("istio_requests_total", _DESTINATION), "ops", needs="http"),
                panel("Series of a scrape", _SCRAPED, legend="{{pod}}", needs="proxies"),
            ),
        ),
    ),
)

CONTROL_PLANE = Dashboard(
    "sailcloth-control-plane",
    "Istio Control Plane Dashboard",
    (
        Row(
            "Deployed versions",
            (panel("Pilot Versions", VERSIONS, legend="{{component}}: {{tag}}"),),
        ),
        Row(
            "Resource usage",
            (
                panel("Memory", _MEMORY, "bytes", "resident"),
                panel("CPU", _CPU, legend="cpu"),
                panel("Uptime", "istiod_uptime_seconds", "s", "uptime", "stat"),
            ),
        ),
        Row(
            "Push information",
            (
                panel("Pilot Pushes", "sum(irate(pilot_xds_pushes[$window])) by (type)", "ops", "{{type}}"),
                Panel(
                    "Events",
                    (
                        Query("sum(rate(pilot_k8s_reg_events[$window])) by (type, event)", "{{event}} {{type}}"),
                        Query("sum(rate(pilot_k8s_cfg_events[$window])) by (type, event)", "{{event}} {{type}}"),
                        Query("sum(rate(pilot_push_triggers[$window])) by (type)", "push {{type}}"),
                    ),
                    "ops",
                ),
                panel("Connections", "sum(pilot_xds)", legend="proxies"),
                Panel(
                    "Push Errors",
                    tuple(
                        Query(f"sum(pilot_xds_{kind.lower()}_reject)", f"rejected {kind}")
                        for kind in ("CDS", "EDS", "RDS", "LDS")
                    ),
                ),
            ),
        ),
        Row(
            "Webhooks",
            (
                Panel(
                    "Validation",
                    (
                        Query("sum(rate(galley_validation_passed[$window]))", "passed"),
                        Query("sum(rate(galley_validation_failed[$window]))", "failed"),
                    ),
                    "ops",
                ),
                Panel(
                    "Injection",
                    (
                        Query("sum(rate(sidecar_injection_success_total[$window]))", "success"),
                        Query("sum(rate(sidecar_injection_failure_total[$window]))", "failure"),
                    ),
                    "ops",
                ),
            ),
        ),
    ),
)

PROPAGATION = Dashboard(
    "sailcloth-propagation",
    "Config Propagation",
    (
        Row(
            "From a change to its acknowledgement",
            (
                Panel(
                    "Proxy Convergence Time",
                    tuple(
                        Query(
                            f"histogram_quantile({share}, sum(rate(pilot_proxy_convergence_time_bucket[$window])) by (le))",
                            name,
                        )
                        for name, share in QUANTILES
                    ),
                    "s",
                ),
                panel("Proxies that have a change", "sum(rate(pilot_proxy_convergence_time_count[$window]))", "ops"),
                panel("Refused pushes", "sum(pilot_xds_cds_reject) + sum(pilot_xds_lds_reject)", kind="stat"),
                panel("Changes", "sum(rate(pilot_inbound_updates[$window])) by (type)", "ops", "{{type}}"),
            ),
        ),
    ),
)

CERTIFICATES = Dashboard(
    "sailcloth-certificates",
    "Certificates",
    (
        Row(
            "Certificates",
            (
                panel("The root ends in", "citadel_server_root_cert_expiry_seconds", "s", kind="stat"),
                Panel(
                    "Signed",
                    (
                        Query("sum(rate(citadel_server_csr_count[$window]))", "requests"),
                        Query("sum(rate(citadel_server_success_cert_issuance_count[$window]))", "signed"),
                    ),
                    "ops",
                ),
                Panel(
                    "Refused",
                    (
                        Query("sum(rate(citadel_server_authentication_failure_count[$window]))", "not authenticated"),
                        Query("sum(rate(citadel_server_csr_sign_err_count[$window]))", "not signed"),
                    ),
                    "ops",
                ),
                panel(
                    "Requests with mutual TLS",
                    rate("istio_requests_total", _DESTINATION, "connection_security_policy"),
                    "ops",
                    "{{connection_security_policy}}",
                    needs="http",
                ),
            ),
        ),
    ),
)
