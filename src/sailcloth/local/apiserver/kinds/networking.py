"""Ingresses, IngressClasses, NetworkPolicies."""

from __future__ import annotations

from ..unstructured import Unstructured
from .columns import AGE, first_three, load_balancer_addresses, selector_text, text, value_at
from .defaulting import nested, set_defaults
from .record import READ, STATUS, WRITE, Grant, Kind


def _ingress_defaults(obj: Unstructured) -> None:
    nested(nested(obj, "status"), "loadBalancer")


def _ingress_class_defaults(obj: Unstructured) -> None:
    parameters = obj["spec"].get("parameters")
    if isinstance(parameters, dict):
        set_defaults(parameters, scope="Cluster")


def _network_policy_defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            set_defaults(port, protocol="TCP")


def _hosts(obj: Unstructured) -> str:
    return first_three([r["host"] for r in obj["spec"].get("rules") or () if r.get("host")]) or "*"


def _class_parameters(obj: Unstructured) -> str:
    parameters = obj["spec"].get("parameters")
    if not parameters:
        return "<none>"
    group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
    return f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"


_EDITABLE = Grant("edit", WRITE)
INGRESS = Kind(
    group="networking.k8s.io",
    plural="ingresses",
    kind="Ingress",
    short_names=("ing",),
    subresources=(STATUS,),
    columns=(
        text("Class", "spec.ingressClassName"),
        text("Hosts", _hosts),
        text("Address", load_balancer_addresses),
        text("Ports", lambda o: "80, 443" if o["spec"].get("tls") else "80"),
        AGE,
    ),
    grants=(Grant("view", READ, ("", "status")), _EDITABLE),
    generation=True,
    has_spec=True,
    defaults=_ingress_defaults,
)
INGRESS_CLASS = Kind(
    group="networking.k8s.io",
    plural="ingressclasses",
    kind="IngressClass",
    namespaced=False,
    columns=(text("Controller", value_at("spec.controller", "")), text("Parameters", _class_parameters), AGE),
    generation=True,
    has_spec=True,
    defaults=_ingress_class_defaults,
    immutable=("spec.controller",),
)
NETWORK_POLICY = Kind(
    group="networking.k8s.io",
    plural="networkpolicies",
    kind="NetworkPolicy",
    short_names=("netpol",),
    columns=(text("Pod-Selector", lambda o: selector_text(o["spec"].get("podSelector"))), AGE),
    grants=(Grant("view", READ), _EDITABLE),
    generation=True,
    has_spec=True,
    defaults=_network_policy_defaults,
)
KINDS = (INGRESS, INGRESS_CLASS, NETWORK_POLICY)
