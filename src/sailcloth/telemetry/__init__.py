"""Metrics of the mesh: scraped, kept for a day, and served through Prometheus' HTTP API.

    scraper ─▶ exposition ─▶ metrics.store ─▶ promql ─▶ api

`exposition`, `metrics` and `promql` are pure but for `metrics.disk`. Nothing here knows Envoy's configuration, xDS or the embedded
cluster: targets come from the Kubernetes API, numbers from their pages.
"""
