"""PodDisruptionBudgets."""

from __future__ import annotations

from collections.abc import Iterator

from ..field_errors import FieldError, invalid
from ..unstructured import Unstructured
from .amounts import validate_amount
from .columns import AGE, integer, text
from .record import READ, STATUS, WRITE, Grant, Kind


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for key in ("minAvailable", "maxUnavailable"):
        yield from validate_amount(f"spec.{key}", spec.get(key), most_percent=100)


POD_DISRUPTION_BUDGET = Kind(
    group="policy",
    plural="poddisruptionbudgets",
    kind="PodDisruptionBudget",
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
    has_spec=True,
    has_status=True,
    validate=_validate,
)
KINDS = (POD_DISRUPTION_BUDGET,)
