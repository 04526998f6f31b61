"""PodDisruptionBudgets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..field_errors import FieldError, invalid
from ..unstructured import Unstructured
from .columns import AGE, integer, text
from .record import READ, STATUS, WRITE, Grant, Kind


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for key in ("minAvailable", "maxUnavailable"):
        value, field = spec.get(key), f"spec.{key}"
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+%", value):
            text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            yield invalid(field, value, text)
        elif isinstance(value, str) and int(value[:-1]) > 100:
            yield invalid(field, value, "must not be greater than 100%")
        elif isinstance(value, int) and value < 0:
            yield invalid(field, value, "must be greater than or equal to 0")


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
    has_spec=True,
    has_status=True,
    validate=_validate,
)
KINDS = (POD_DISRUPTION_BUDGET,)
