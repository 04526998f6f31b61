"""The chart `base`: what is in a cluster once, whatever runs there."""

from __future__ import annotations

from typing import Any

from sailcloth.api import crd
from sailcloth.mesh import ingress

from .chart import Chart
from .template import Both, Check, Equal, Has, Node, Not, Value, When

NAMESPACE = "istio-system"
KEEP = {"helm.sh/resource-policy": "keep"}
ONLY_NAMESPACE = Check(
    Not(Equal(Value("global.istioNamespace"), NAMESPACE)),
    f"global.istioNamespace must be {NAMESPACE}: the control plane knows no other namespace of its own yet",
)
_NOTES = """\
The kinds of the mesh are there. Next, the control plane:

  helm install istiod charts/istiod -n istio-system --wait
"""


def _definition(made: dict[str, Any]) -> Node:
    metadata = made["metadata"]
    kept = {**made, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **KEEP}}}
    wanted = Both(Value("base.enableCRDTemplates"), Not(Has(Value("base.excludedCRDs"), metadata["name"])))
    return When(wanted, kept)


_INGRESS_CLASS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": ingress.CLASS},
    "spec": {"controller": ingress.CONTROLLER},
}
CHART = Chart(
    "base",
    "The kinds of a Sailcloth mesh, and its class of Ingresses",
    {
        "crds.yaml": tuple(_definition(made) for made in crd.crds()),
        "ingressclass.yaml": (When(Value("base.enableIngressClass"), _INGRESS_CLASS),),
    },
    _NOTES,
    (ONLY_NAMESPACE,),
)
