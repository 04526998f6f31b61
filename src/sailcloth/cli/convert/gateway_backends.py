"""Destinations of VirtualServices as backends of the Gateway API: a Service and a port, without subsets.

A subset is the Service of the input with its selector. Without such a Service the backend has the name that one should get, so that
requests fail until it is there, instead of going to other versions. Must not know routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sailcloth.api import core
from sailcloth.api.destination_rule import DestinationRule, Subset
from sailcloth.api.gateway_api import GROUP
from sailcloth.api.meta import Key, Object
from sailcloth.api.virtual_service import Destination

from .documents import Document, Losses, Scope, made, services, typed

_HOSTNAME = {"group": "networking.istio.io", "kind": "Hostname"}


class Grant(NamedTuple):
    """What a ReferenceGrant in `namespace` allows: routes of a kind in `origin` to name a Service."""

    namespace: str
    kind: str
    origin: str
    service: str


@dataclass(frozen=True)
class Place:
    """Where a route is: the kind and namespace of its object, the namespace that short hosts belong to, and the port of its parent if it
    is of one port only."""

    kind: str
    namespace: str
    hosts_namespace: str
    port: int | None = None


@dataclass
class Backends:
    """The Services and subsets of the input. Collects the references to other namespaces."""

    scope: Scope
    services: Mapping[tuple[str, str], core.Service]
    rules: list[tuple[Key, DestinationRule]]
    granted: set[Grant] = field(default_factory=set)
    expressed: set[tuple[Key, str]] = field(default_factory=set)  # subsets of DestinationRules that are Services

    @classmethod
    def of(cls, documents: list[Document], scope: Scope) -> Backends:
        """The services and subsets of documents."""
        rules = [(k, o) for k, o in typed(documents, scope) if isinstance(o, DestinationRule)]
        return cls(scope, services(documents, scope), rules)

    def ports(self, namespace: str, name: str) -> tuple[core.ServicePort, ...]:
        """The ports of a Service; none if it is not in the input."""
        service = self.services.get((namespace, name))
        return service.spec.ports if service is not None else ()

    def is_grpc(self, destination: Destination, place: Place) -> bool:
        """Whether a destination is a port of the input that speaks gRPC."""
        where = self.scope.service_of(self.scope.resolve(destination.host, place.hosts_namespace))
        ports = self.ports(*where) if where is not None else ()
        number = _number(destination) or place.port or (ports[0].port if len(ports) == 1 else None)
        words = [(p.app_protocol or p.name.partition("-")[0]).lower() for p in ports if p.port == number]
        return words == ["grpc"]

    def is_ambiguous(self, destination: Destination, namespace: str) -> bool:
        """Whether a destination means the port that the request came to."""
        where = self.scope.service_of(self.scope.resolve(destination.host, namespace))
        return not _number(destination) and where is not None and len(self.ports(*where)) != 1

    def reference(self, destination: Destination, place: Place, path: str, losses: Losses) -> dict[str, Any] | None:
        """The reference to a destination; None, with a loss, without a port."""
        host = self.scope.resolve(destination.host, place.hosts_namespace)
        where = self.scope.service_of(host)
        number = _number(destination) or place.port
        if where is None:
            if number:
                return {**_HOSTNAME, "name": host, "port": number}
            text = (
                f"the destination is left out, and its requests fail: a backend needs a port, and {host} has none here"
            )
            losses.add(f"{path}.port", text, "Give port.number.")
            return None
        ports = self.ports(*where)
        number = number or (ports[0].port if len(ports) == 1 else None)
        if not number:
            why = "has several" if ports else "is not in the input"
            text = f"the destination is left out, and its requests fail: a backend needs a port, and the Service {where[0]}/{where[1]} {why}"
            losses.add(f"{path}.port", text, "Give port.number, or add the Service to the input.")
            return None
        namespace, name = where
        if destination.subset:
            name, number = self._subset(where, destination.subset, number, path, losses)
        reference: dict[str, Any] = {"name": name, "port": number}
        if namespace != place.namespace:
            self.granted.add(Grant(namespace, place.kind, place.namespace, name))
            reference["namespace"] = namespace
        return reference

    def grants(self) -> list[Document]:
        """ReferenceGrants for the references to other namespaces, to no more than the Services that are named."""
        out = []
        for place in dict.fromkeys(grant[:3] for grant in sorted(self.granted)):
            namespace, kind, origin = place
            spec = {
                "from": [{"group": GROUP, "kind": kind, "namespace": origin}],
                "to": [
                    {"group": "", "kind": "Service", "name": one.service}
                    for one in sorted(self.granted)
                    if one[:3] == place
                ],
            }
            metadata = {"name": f"{kind.lower()}s-of-{origin}", "namespace": namespace}
            out.append(Document(made(f"{GROUP}/v1beta1", "ReferenceGrant", metadata, spec)))
        return out

    def _subset(self, where: tuple[str, str], subset: str, number: int, path: str, losses: Losses) -> tuple[str, int]:
        """(name of the Service with the workloads of a subset, its port)."""
        namespace, name = where
        wanted = f"{name}-{subset}"
        root = self.services.get(where)
        found = self._labels(where, subset)
        if root is None or found is None:
            missing = (
                f"the Service {namespace}/{name}" if root is None else f"a DestinationRule with the subset {subset}"
            )
            text = f"the subset becomes the Service {wanted}, which is not in the input, and neither is {missing}"
            losses.add(f"{path}.subset", text, f"Create the Service {wanted} for the workloads of the subset.")
            return wanted, number
        rule_key, rule, one = found
        selector = {**root.spec.selector, **one.labels}
        port = next((p for p in root.spec.ports if p.port == number), None)
        target = (port.target_port or port.port) if port is not None else number
        for (there, other), service in sorted(self.services.items()):
            if there != namespace or service.spec.selector != selector:
                continue
            of_target = [p.port for p in service.spec.ports if (p.target_port or p.port) == target]
            if of_target:
                self.expressed.add((rule_key, subset))
                if rule.spec.traffic_policy is not None or one.traffic_policy is not None:
                    text = f"the trafficPolicy of DestinationRule {rule_key.namespace}/{rule_key.name} does not hold for the Service {other}"
                    losses.add(f"{path}.subset", text, f"Write a DestinationRule for the host {other}.")
                return other, of_target[0]
        labels = ", ".join(f"{k}: {v}" for k, v in sorted(selector.items()))
        text = f"the subset becomes the Service {wanted}, which is not in the input"
        fix = f"Create the Service {wanted} with the selector {{{labels}}} and the port {number}."
        losses.add(f"{path}.subset", text, fix)
        return wanted, number

    def _labels(self, where: tuple[str, str], subset: str) -> tuple[Key, DestinationRule, Subset] | None:
        for key, rule in self.rules:
            if self.scope.service_of(self.scope.resolve(rule.spec.host, key.namespace)) == where:
                for one in rule.spec.subsets:
                    if one.name == subset:
                        return key, rule, one
        return None


def spent(rules: Iterable[tuple[Key, Object]], backends: Backends) -> set[Key]:
    """The DestinationRules that only define subsets which are Services now."""
    return {
        key
        for key, rule in rules
        if isinstance(rule, DestinationRule)
        and rule.spec.subsets
        and rule.spec.traffic_policy is None
        and all((key, s.name) in backends.expressed and s.traffic_policy is None for s in rule.spec.subsets)
    }


def _number(destination: Destination) -> int | None:
    return destination.port.number if destination.port is not None else None
