"""PodDisruptionBudgets."""

from __future__ import annotations

from .columns import AGE, integer, text
from .record import READ, STATUS, WRITE, Grant, Kind

POD_DISRUPTION_BUDGET = Kind(
    group="policy",
    plural="poddisruptionbudgets",
    kind="PodDisruptionBudget",
    package="api.policy",
    short_names=("pdb",),
    subresources=(STATUS,),
    columns=(
        text("Min Available", lambda o: str(o["spec"].get("minAvailable", "N/A"))),
        text("Max Unavailable", lambda o: str(o["spec"].get("maxUnavailable", "N/A"))),
        integer("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ),
    grants=(Grant("view", READ, ("", "status")), Grant("edit", WRITE)),
    generation=True,
    has_status=True,
)
KINDS = (POD_DISRUPTION_BUDGET,)
