"""ConfigMaps and Secrets."""

from __future__ import annotations

import base64

from ...unstructured import Unstructured
from ..columns import AGE, integer, text
from ..defaulting import nested, set_defaults
from ..record import READ, WRITE, FieldSelector, Grant, Kind


def _secret_defaults(obj: Unstructured) -> None:
    set_defaults(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        nested(obj, "data").update({k: base64.b64encode(str(v).encode()).decode() for k, v in plain.items()})


CONFIG_MAP = Kind(
    plural="configmaps",
    kind="ConfigMap",
    package="api.core",
    short_names=("cm",),
    columns=(integer("Data", lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())), AGE),
    grants=(Grant("view", READ), Grant("edit", WRITE)),
)
SECRET = Kind(
    plural="secrets",
    kind="Secret",
    package="api.core",
    columns=(text("Type", "type"), integer("Data", lambda o: len(o.get("data") or ())), AGE),
    field_selectors={"type": FieldSelector()},
    grants=(Grant("edit", READ), Grant("edit", WRITE)),
    defaults=_secret_defaults,
)
