"""EndpointSlices."""

from __future__ import annotations

from ..unstructured import Unstructured
from .columns import AGE, first_three, text
from .defaulting import set_defaults
from .endpoint_addresses import validate_slice
from .record import READ, Grant, Kind


def _defaults(obj: Unstructured) -> None:
    for port in obj.get("ports") or ():
        set_defaults(port, name="", protocol="TCP")


def _addresses(obj: Unstructured) -> str:
    return first_three([a for e in obj.get("endpoints") or () for a in e.get("addresses", ())]) or "<unset>"


def _ports(obj: Unstructured) -> str:
    return ",".join(str(p.get("port", "*")) for p in obj.get("ports") or ()) or "<unset>"


ENDPOINT_SLICE = Kind(
    group="discovery.k8s.io",
    plural="endpointslices",
    kind="EndpointSlice",
    columns=(text("AddressType", "addressType"), text("Ports", _ports), text("Endpoints", _addresses), AGE),
    grants=(Grant("view", READ),),
    generation=True,
    defaults=_defaults,
    immutable=("addressType",),
    validate=validate_slice,
)
KINDS = (ENDPOINT_SLICE,)
