"""The charts, in the order in which they are installed."""

from __future__ import annotations

from . import addons, cni, definitions, gateway, istiod

_ALL = (definitions.CHART, cni.CHART, istiod.CHART, addons.TELEMETRY, addons.CONSOLE, gateway.CHART)
CHARTS = {chart.name: chart for chart in _ALL}
