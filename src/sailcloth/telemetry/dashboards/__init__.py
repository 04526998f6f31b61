"""What dashboards show, written once: `catalogue` holds it, `grafana` writes it as Grafana's dashboards, `rules` as recording and
alerting rules. Must not query anything."""
