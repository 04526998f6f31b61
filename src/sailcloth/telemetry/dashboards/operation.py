"""Dashboards of the mesh itself: its cost, its control plane, how changes spread, its certificates."""

from __future__ import annotations

from .panels import QUANTILES, Dashboard, Panel, Query, Row, rate

PERFORMANCE = Dashboard(
    "sailcloth-performance",
    "Istio Performance Dashboard",
    (
        Row(
            "Control plane",
            (
                Panel("vCPU", (Query('rate(process_cpu_seconds_total{job="istiod"}[$window])', "istiod"),)),
                Panel("Memory", (Query('process_resident_memory_bytes{job="istiod"}', "istiod"),), "bytes"),
                Panel("Open files", (Query('process_open_fds{job="istiod"}', "istiod"),)),
            ),
        ),
        Row(
            "Proxies",
            (
                Panel(
                    "Memory of Envoy",
                    (Query("sum(envoy_server_memory_allocated) by (pod)", "{{pod}}"),),
                    "bytes",
                    needs="proxies",
                ),
                Panel(
                    "Requests of all sidecars",
                    (Query(rate("istio_requests_total", 'reporter="destination"')),),
                    "ops",
                    needs="http",
                ),
                Panel(
                    "Series of a scrape",
                    (Query('scrape_samples_scraped{job="kubernetes-pods"}', "{{pod}}"),),
                    needs="proxies",
                ),
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
            (Panel("Pilot Versions", (Query("sum(istio_build) by (component, tag)", "{{component}}: {{tag}}"),)),),
        ),
        Row(
            "Resource usage",
            (
                Panel("Memory", (Query('process_resident_memory_bytes{job="istiod"}', "resident"),), "bytes"),
                Panel("CPU", (Query('rate(process_cpu_seconds_total{job="istiod"}[$window])', "cpu"),)),
                Panel("Uptime", (Query("istiod_uptime_seconds", "uptime"),), "s", "stat"),
            ),
        ),
        Row(
            "Push information",
            (
                Panel("Pilot Pushes", (Query("sum(irate(pilot_xds_pushes[$window])) by (type)", "{{type}}"),), "ops"),
                Panel(
                    "Events",
                    (
                        Query("sum(rate(pilot_k8s_reg_events[$window])) by (type, event)", "{{event}} {{type}}"),
                        Query("sum(rate(pilot_k8s_cfg_events[$window])) by (type, event)", "{{event}} {{type}}"),
                        Query("sum(rate(pilot_push_triggers[$window])) by (type)", "push {{type}}"),
                    ),
                    "ops",
                ),
                Panel("Connections", (Query("sum(pilot_xds)", "proxies"),)),
                Panel(
                    "Push Errors",
                    (
                        Query("sum(pilot_xds_cds_reject)", "rejected CDS"),
                        Query("sum(pilot_xds_eds_reject)", "rejected EDS"),
                        Query("sum(pilot_xds_rds_reject)", "rejected RDS"),
                        Query("sum(pilot_xds_lds_reject)", "rejected LDS"),
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
                Panel(
                    "Proxies that have a change",
                    (Query("sum(rate(pilot_proxy_convergence_time_count[$window]))"),),
                    "ops",
                ),
                Panel("Refused pushes", (Query("sum(pilot_xds_cds_reject) + sum(pilot_xds_lds_reject)"),), kind="stat"),
                Panel("Changes", (Query("sum(rate(pilot_inbound_updates[$window])) by (type)", "{{type}}"),), "ops"),
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
                Panel("The root ends in", (Query("citadel_server_root_cert_expiry_seconds"),), "s", "stat"),
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
                Panel(
                    "Requests with mutual TLS",
                    (
                        Query(
                            rate("istio_requests_total", 'reporter="destination"', "connection_security_policy"),
                            "{{connection_security_policy}}",
                        ),
                    ),
                    "ops",
                    needs="http",
                ),
            ),
        ),
    ),
)
