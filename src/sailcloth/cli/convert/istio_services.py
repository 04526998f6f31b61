"""Hosts, subsets and string matches as Istio 0.x named them (IstioService, labels), in today's terms. Must not know a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sailcloth.api import core
from sailcloth.api.validation import regexes

from .documents import Document, Losses, Scope, mapping, services, slug, without_empty

GROUP = "config.istio.io"


@dataclass
class Registry:
    """The services of the input, and the subsets that labels in rules stand for, by full host."""

    scope: Scope
    services: Mapping[tuple[str, str], core.Service]
    subsets: dict[str, dict[tuple[tuple[str, str], ...], str]] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: list[Document], scope: Scope) -> Registry:
        """The registry of the input's services, without subsets."""
        return cls(scope, services(documents, scope))

    def host(self, service: Mapping[str, Any], namespace: str) -> str:
        """The full host of an IstioService in a rule of a namespace."""
        if service.get("service"):
            return self.scope.resolve(str(service["service"]), namespace)
        domain = str(service.get("domain") or f"svc.{self.scope.config.domain}")
        return f"{service.get('name') or ''}.{service.get('namespace') or namespace}.{domain}"

    def written(self, host: str, namespace: str) -> str:
        """A full host as an object of a namespace writes it: short for services of its own namespace."""
        service = self.scope.service_of(host)
        return service[1] if service is not None and service[0] == namespace else host

    def subset(self, host: str, labels: Mapping[str, Any]) -> str | None:
        """The name of the subset with these labels; None without labels. The first use of labels defines it."""
        pairs = tuple(sorted((str(k), str(v)) for k, v in labels.items()))
        if not pairs:
            return None
        known = self.subsets.setdefault(host, {})
        if pairs not in known:
            wanted = slug(
                pairs[0][1] if [k for k, _ in pairs] == ["version"] else "-".join(f"{k}-{v}" for k, v in pairs)
            )
            name, number = wanted, 1
            while name in known.values():
                number += 1
                name = f"{wanted}-{number}"
            known[pairs] = name
        return known[pairs]

    def protocols(self, host: str) -> set[str]:
        """`http` and `tcp`, as the ports of a host's service say; `http` if it is not in the input."""
        service = self.services.get(self.scope.service_of(host) or ("", ""))
        if service is None or not service.spec.ports:
            return {"http"}
        return {"http" if is_http(port) else "tcp" for port in service.spec.ports}

    def destination(self, service: Mapping[str, Any], labels: Mapping[str, Any], namespace: str) -> dict[str, Any]:
        """The destination of a route, seen from a namespace."""
        host = self.host(service, namespace)
        return without_empty({"host": self.written(host, namespace), "subset": self.subset(host, labels)})


def is_http(port: core.ServicePort) -> bool:
    """Whether a port's name or appProtocol says HTTP, or nothing."""
    word = (port.app_protocol or port.name.partition("-")[0]).lower().rpartition("/")[2]
    return word not in ("tcp", "tls", "https", "mongo", "redis", "mysql", "udp")


def string_match(value: Any, losses: Losses, path: str) -> dict[str, str] | None:
    """A string match of today; None, with a loss, for an expression that RE2 does not know."""
    match = {k: str(v) for k, v in mapping(value).items() if k in ("exact", "prefix", "regex")}
    if not match:
        losses.add(path, "the rule is left out: the condition has no exact, prefix or regex", "Give one of them.")
        return None
    if "regex" in match and (problem := regexes.problem(match["regex"])):
        losses.add(f"{path}.regex", f"the rule is left out: {problem}", "Write the condition in RE2's syntax.")
        return None
    return match
