"""The panels' expressions are PromQL, and Grafana's files and Prometheus' rules hold them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from sailcloth.telemetry.dashboards import grafana, rules
from sailcloth.telemetry.dashboards.catalogue import DASHBOARDS
from sailcloth.telemetry.dashboards.panels import Dashboard, panels


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_every_expression_is_promql_and_in_the_dashboard(dashboard: Dashboard) -> None:
    made = grafana.dashboard(dashboard)
    written = {t["expr"] for panel in made["panels"] for t in panel.get("targets") or ()}
    for panel in panels(dashboard):
        assert panel.queries
        for query in panel.queries:
            promql_parser.parse(query.expr.replace("$window", "1m"))
            assert query.expr.replace("$window", "$__rate_interval") in written
    names = {variable["name"] for variable in made["templating"]["list"]}
    used = {name for name in ("service", "namespace", "workload") if any(f"${name}" in expr for expr in written)}
    assert used | {"datasource"} == names
    assert made["uid"] == dashboard.uid


def test_names_are_unique() -> None:
    assert len({d.uid for d in DASHBOARDS}) == len(DASHBOARDS) == 7
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            assert len({p.title for p in row.panels}) == len(row.panels)


def test_config_maps_hold_the_dashboards() -> None:
    for made in grafana.config_maps(DASHBOARDS, "istio-system"):
        ((name, text),) = made["data"].items()
        assert name == json.loads(text)["uid"] + ".json"


def test_rules_are_promql() -> None:
    for group in rules.rule_file()["groups"]:
        for rule in group["rules"]:
            promql_parser.parse(rule["expr"])


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (package prometheus) is not installed")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules.rule_file()))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
