"""The charts, in the order in which they are installed."""

from __future__ import annotations

from . import cni, definitions, gateway, istiod

CHARTS = {chart.name: chart for chart in (definitions.CHART, cni.CHART, istiod.CHART, gateway.CHART)}
