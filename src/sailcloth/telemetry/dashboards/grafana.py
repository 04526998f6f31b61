"""The catalogue as Grafana's dashboards (JSON), by Grafana's own builders."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from .panels import Dashboard, Panel

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WINDOW = "$__rate_interval"
_WIDTHS = {"stat": 6, "table": 24, "timeseries": 8}


def dashboard(of: Dashboard) -> dict[str, Any]:
    """One dashboard as JSON-able data."""
    made = builders.Dashboard(of.title).uid(of.uid).tags(["istio", "sailcloth"]).refresh("15s").time("now-15m", "now")
    made = made.with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in of.variables:
        made = made.with_variable(
            builders.QueryVariable(variable.name)
            .label(variable.label)
            .query(variable.query)
            .datasource(_SOURCE)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".*")
        )
    for row in of.rows:
        made = made.with_row(builders.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(_panel(panel))
    out: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    return out


def _panel(of: Panel) -> Any:
    kinds: dict[str, Any] = {"timeseries": timeseries.Panel, "stat": stat.Panel, "table": table.Panel}
    made = kinds[of.kind]().title(of.title).unit(of.unit).datasource(_SOURCE).span(_WIDTHS[of.kind]).height(7)
    if of.kind == "timeseries":
        made = made.fill_opacity(10).legend(common.VizLegendOptions().show_legend(True))
    for number, query in enumerate(of.queries):
        target = prometheus.Dataquery().expr(query.expr.replace("$window", _WINDOW)).ref_id(chr(ord("A") + number))
        target = target.legend_format(query.legend) if query.legend else target
        made = made.with_target(target.instant() if of.kind == "table" else target)
    return made


def config_maps(dashboards: tuple[Dashboard, ...], namespace: str) -> list[dict[str, Any]]:
    """ConfigMaps that Grafana's sidecar takes dashboards from."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": of.uid, "namespace": namespace, "labels": {"grafana_dashboard": "1"}},
            "data": {f"{of.uid}.json": json.dumps(dashboard(of), indent=1)},
        }
        for of in dashboards
    ]
