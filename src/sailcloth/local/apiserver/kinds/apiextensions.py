"""CustomResourceDefinitions. What their schemas must be is `schemas.structural`'s business."""

from __future__ import annotations

from ..unstructured import Unstructured
from .columns import CREATED_AT
from .defaulting import nested, set_defaults
from .record import STATUS, Kind


def _defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    names = nested(spec, "names")
    names["singular"] = names.get("singular") or str(names.get("kind", "")).lower()
    names["listKind"] = names.get("listKind") or f"{names.get('kind', '')}List"
    set_defaults(nested(spec, "conversion"), strategy="None")
    service = (((spec["conversion"].get("webhook") or {}).get("clientConfig")) or {}).get("service")
    if service:
        set_defaults(service, port=443)


CUSTOM_RESOURCE_DEFINITION = Kind(
    group="apiextensions.k8s.io",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    package="apiextensions-apiserver.pkg.apis.apiextensions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(STATUS,),
    columns=(CREATED_AT,),
    generation=True,
    has_spec=True,
    defaults=_defaults,
)
KINDS = (CUSTOM_RESOURCE_DEFINITION,)
