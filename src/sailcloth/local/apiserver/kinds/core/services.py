"""Services and Endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sailcloth.lib.schemacheck import go

from ...field_errors import FieldError, forbidden, invalid, required, unsupported
from ...unstructured import Unstructured
from ..amounts import validate_port
from ..columns import AGE, first_three, load_balancer_addresses, selector_text, text, wide
from ..defaulting import nested, set_defaults
from ..endpoint_addresses import validate_address, validate_endpoints
from ..record import LABEL, LABEL_1035, READ, STATUS, SUBDOMAIN, WRITE, FieldSelector, Grant, Kind

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _service_defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "ClientIP":
        set_defaults(nested(nested(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        set_defaults(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if spec["type"] != "ExternalName":
        set_defaults(spec, internalTrafficPolicy="Cluster", ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        set_defaults(spec, externalTrafficPolicy="Cluster")
    else:
        spec.pop("externalTrafficPolicy", None)
    if spec["type"] == "LoadBalancer":
        set_defaults(spec, allocateLoadBalancerNodePorts=True)
    nested(nested(obj, "status"), "loadBalancer")


def _endpoints_defaults(obj: Unstructured) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            set_defaults(port, protocol="TCP")


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    yield from _validate_cluster_ips(spec, old["spec"] if old is not None else {})
    if spec.get("type") not in _TYPES:
        yield unsupported("spec.type", spec.get("type"), _TYPES)
    ports = spec.get("ports") or []
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
        elif not re.fullmatch(SUBDOMAIN.pattern, spec["externalName"].removesuffix(".")):
            yield invalid("spec.externalName", spec["externalName"], SUBDOMAIN.text)
        return
    yield from _validate_choices(spec)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        yield from validate_address(f"spec.externalIPs[{index}]", address)
    if not ports and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    yield from _validate_ports(ports)
    if spec.get("type") == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                yield forbidden(f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'")


def _validate_choices(spec: Unstructured) -> Iterator[FieldError]:
    choices = {
        "sessionAffinity": ("ClientIP", "None"),
        "externalTrafficPolicy": ("Cluster", "Local"),
        "internalTrafficPolicy": ("Cluster", "Local"),
    }
    for key, known in choices.items():
        if spec.get(key) and spec[key] not in known:
            yield unsupported(f"spec.{key}", spec[key], known)


def _validate_cluster_ips(spec: Unstructured, old: Unstructured) -> Iterator[FieldError]:
    """The primary address stays as long as the Service has one; a Service without one is ExternalName."""
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    before = old.get("clusterIP")
    if spec.get("type") == "ExternalName" or old.get("type") == "ExternalName":
        return
    if before and address and address != before:
        yield (
            "spec.clusterIPs[0]",
            "FieldValueInvalid",
            f"Invalid value: []string{{{go(address)}}}: may not change once set",
        )
    elif address and addresses and addresses[0] != address:
        shown = ", ".join(go(one) for one in addresses)
        if before and addresses != old.get("clusterIPs"):
            yield (
                "spec.clusterIPs[0]",
                "FieldValueInvalid",
                f"Invalid value: []string{{{shown}}}: may not change once set",
            )
        else:
            yield (
                "spec.clusterIPs",
                "FieldValueInvalid",
                f"Invalid value: []string{{{shown}}}: first value must match `clusterIP`",
            )


def _validate_ports(ports: list[Unstructured]) -> Iterator[FieldError]:
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where, name, number = f"spec.ports[{index}]", port.get("name") or "", port.get("port")
        if len(ports) > 1 and not name:
            yield f"{where}.name", "FieldValueRequired", "Required value"
        if name and not (len(name) <= LABEL.longest and re.fullmatch(LABEL.pattern, name)):
            yield invalid(f"{where}.name", name, LABEL.text)
        if name and name in names:
            yield f"{where}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'
        names.add(name)
        if isinstance(number, int) and not 0 < number < 65536:
            text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield f"{where}.port", "FieldValueInvalid", text
        if port.get("protocol") not in _PROTOCOLS:
            yield unsupported(f"{where}.protocol", port.get("protocol") or "", _PROTOCOLS)
        if port.get("targetPort") not in (None, "", 0):
            yield from validate_port(f"{where}.targetPort", port["targetPort"])
        if (port.get("protocol"), number) in numbers:
            shown = f"core.ServicePort{{Name:{go(name)}, Protocol:{go(port.get('protocol'))}, Port:{number}}}"
            yield where, "FieldValueDuplicate", f"Duplicate value: {shown}"
        numbers.add((port.get("protocol"), number))


def _ports(obj: Unstructured) -> str:
    out = []
    for p in obj["spec"].get("ports") or ():
        node = f":{p['nodePort']}" if p.get("nodePort") else ""
        out.append(f"{p['port']}{node}/{p.get('protocol', 'TCP')}")
    return ",".join(out) or "<none>"


def _external_ips(obj: Unstructured) -> str:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", "<none>"))
    if spec.get("type") == "LoadBalancer":
        return load_balancer_addresses(obj) or "<pending>"
    return ",".join(spec.get("externalIPs") or ()) or "<none>"


def _addresses(obj: Unstructured) -> str:
    out = []
    for subset in obj.get("subsets") or ():
        ports = subset.get("ports") or [{}]
        out += [
            f"{a['ip']}:{p['port']}" if "port" in p else a["ip"] for p in ports for a in subset.get("addresses") or ()
        ]
    return first_three(out) or "<none>"


SERVICE = Kind(
    plural="services",
    kind="Service",
    short_names=("svc",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        text("Type", "spec.type"),
        text("Cluster-IP", "spec.clusterIP"),
        text("External-IP", _external_ips),
        text("Port(s)", _ports),
        AGE,
        wide("Selector", lambda o: selector_text(o["spec"].get("selector"))),
    ),
    field_selectors={"spec.clusterIP": FieldSelector(), "spec.type": FieldSelector()},
    grants=(
        Grant("view", READ, ("", "status")),
        Grant("edit", READ, ("proxy",)),
        Grant("edit", WRITE, ("", "proxy")),
    ),
    name_rule=LABEL_1035,
    has_spec=True,
    defaults=_service_defaults,
    validate=_validate,
)
ENDPOINTS = Kind(
    plural="endpoints",
    kind="Endpoints",
    short_names=("ep",),
    columns=(text("Endpoints", _addresses), AGE),
    grants=(Grant("view", READ),),
    defaults=_endpoints_defaults,
    validate=validate_endpoints,
)
