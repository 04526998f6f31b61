"""BackendTLSPolicies of the Gateway API: which TLS gateways speak to a service. Pure.

Policies for one Service or ServiceEntry become one object (`BackendTls`), so that a change of a policy reaches the clusters of its services
only. They hold for gateways; sidecars have mutual TLS, and DestinationRules. Must not know routes. Source: the Gateway API's specification,
BackendTLSPolicy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from sailcloth.api.destination_rule import ClientTLSSettings
from sailcloth.api.gateway_api import BackendTLSPolicy
from sailcloth.api.meta import Key, Object, ObjectMeta
from sailcloth.lib.relation import Relation

from . import gateway_listeners
from .gateway_listeners import Verdict

KIND = "BackendTls"
NAMES = Key("BackendTlsNames", "", "")
_NOBODY = ("no-valid-ca-certificate.invalid",)
_IGNORE = "istio.io/ignore-policy-attachment"
_KINDS = {
    ("", "Service"): "Service",
    ("core", "Service"): "Service",
    ("networking.istio.io", "ServiceEntry"): "ServiceEntry",
}


class BackendTls(Object):
    """The settings for a service, by the name of its port; those of the empty name are for all others."""

    ports: dict[str, ClientTLSSettings] = {}


class BackendTlsNames(Object):
    """The names of all credentials in such settings, sorted. They are CA certificates, so every gateway may have them."""

    names: tuple[str, ...] = ()


def key_of(service: Key) -> Key:
    """The key of the settings for a Service or ServiceEntry."""
    return Key(f"{KIND}/{service.kind}", service.namespace, service.name)


class PolicyStatus(NamedTuple):
    """The conditions of a policy; `resolved`: None for one that is ignored."""

    accepted: Verdict
    resolved: Verdict | None


class Target(NamedTuple):
    """What a policy is for: a Service or ServiceEntry, or (`section`, its name) one port of it."""

    service: Key
    section: str


class BackendTlsPolicies:
    """Keeps the settings in step. `put` sets or (None) removes an object of the mesh and says whether that changed anything. `roots`: whether a
    ConfigMap has CA certificates; None if there is none. `ports`: the names of the ports of a service; None if there is no such service."""

    def __init__(
        self,
        put: Callable[[Key, Object | None], bool],
        roots: Callable[[Key], bool | None],
        ports: Callable[[Key], Collection[str] | None],
    ) -> None:
        self._put, self._roots, self._ports = put, roots, ports
        self._policies: dict[Key, BackendTLSPolicy] = {}
        self._targeting: Relation[Key, Key] = Relation()  # policies at the services that they name
        self._credentials: dict[Key, tuple[str, ...]] = {}
        self.evaluated: set[Key] = set()  # those that may have other statuses; the reader clears them

    # -- changes --------------------------------------------------------------------------------

    def apply(self, key: Key, obj: Object | None) -> bool:
        """Apply a policy, or (None) its deletion. Returns whether the mesh changed."""
        if isinstance(obj, BackendTLSPolicy):
            self._policies[key] = obj
        else:
            self._policies.pop(key, None)
        services = self.services(key)
        self.evaluated.add(key)
        changed = [self._update(service) for service in sorted(self._targeting.put(key, services).union(services))]
        return any(changed)

    def roots_changed(self, changed: Key) -> bool:
        """Update the services with CA certificates from a ConfigMap."""
        concerned = [k for k, policy in self._policies.items() if changed in _references(k, policy)]
        services = {service for key in concerned for service, _ in self._targets_of(key)}
        changed_services = [self._update(service) for service in sorted(services)]
        return any(changed_services)

    def service_changed(self, service: Key) -> None:
        """Look at the policies of a service again that was added or deleted, or to which other routes lead."""
        self.evaluated |= self._targeting.at(service)

    def _update(self, service: Key) -> bool:
        self.evaluated |= self._targeting.at(service)
        ports = {section: self._settings(key) for section, key in self._winners(service).items()}
        names = sorted({s.credential_name for s in ports.values() if s.credential_name})
        if names:
            self._credentials[service] = tuple(names)
        else:
            self._credentials.pop(service, None)
        metadata = ObjectMeta(name=service.name, namespace=service.namespace)
        listed = tuple(sorted({name for of_service in self._credentials.values() for name in of_service}))
        changed = [
            self._put(NAMES, BackendTlsNames(metadata=ObjectMeta(name=KIND), names=listed) if listed else None),
            self._put(
                key_of(service),
                BackendTls(metadata=metadata, ports=ports) if ports else None,
            ),
        ]
        return any(changed)

    def _winners(self, service: Key) -> dict[str, Key]:
        """The policy that counts for each port: the oldest, then the first by name."""
        found: dict[str, Key] = {}
        policies = ((k, self._policies[k]) for k in self._targeting.at(service))
        for key, policy in sorted(policies, key=lambda p: (p[1].metadata.creation_timestamp or "", p[0])):
            for target, section in _targets(key, policy):
                if target == service:
                    found.setdefault(section, key)
        return found

    def _settings(self, key: Key) -> ClientTLSSettings:
        """The settings of a policy. One without a usable CA certificate lets no connection succeed."""
        validation = self._policies[key].spec.validation
        names = tuple(n.uri or n.hostname for n in validation.subject_alt_names) or (validation.hostname,)
        usable = self._invalid(key) is None
        roots = validation.ca_certificate_refs[0].name if usable and validation.ca_certificate_refs else ""
        return ClientTLSSettings(
            mode="SIMPLE",
            sni=validation.hostname,
            subject_alt_names=names if usable else _NOBODY,
            credential_name=gateway_listeners.config_map_roots(key.namespace, roots) if roots else None,
        )

    # -- verdicts -------------------------------------------------------------------------------

    def services(self, key: Key) -> list[Key]:
        """The Services and ServiceEntries that a policy names."""
        return list(dict.fromkeys(t.service for t in self._targets_of(key)))

    def status(self, key: Key) -> PolicyStatus | None:
        """The conditions of a policy for gateways; None if it does not exist."""
        verdicts = [s.accepted for _, s in self.target_statuses(key)]
        if key not in self._policies or not self._enabled(key):
            return None
        wrong = [v for v in verdicts if not v[0]]
        absent = next((v for v in wrong if v[1] == "TargetNotFound"), None)
        if not verdicts:
            absent = (False, "TargetNotFound", "no Service or ServiceEntry is named")
        partly = (True, "Accepted", "") if len(wrong) < len(verdicts) else wrong[0] if wrong else None
        return PolicyStatus(absent or partly or (True, "Accepted", ""), self._resolved(key))

    def target_statuses(self, key: Key) -> list[tuple[Target, PolicyStatus]]:
        """The conditions of a policy for each of its targets."""
        if key not in self._policies:
            return []
        if not self._enabled(key):
            ignored = PolicyStatus((False, "IgnoredByIstio", f"annotation {_IGNORE} is true"), None)
            return [(t, ignored) for t in _targets(key, self._policies[key])]
        return [(t, PolicyStatus(self._accepted(key, t), self._resolved(key))) for t in self._targets_of(key)]

    def _targets_of(self, key: Key) -> list[Target]:
        return _targets(key, self._policies.get(key)) if self._enabled(key) else []

    def _enabled(self, key: Key) -> bool:
        return key not in self._policies or self._policies[key].metadata.annotations.get(_IGNORE) != "true"

    def _accepted(self, key: Key, target: Target) -> Verdict:
        what, ports = (
            f"{target.service.kind} {target.service.namespace}/{target.service.name}",
            self._ports(target.service),
        )
        if ports is None:
            return False, "TargetNotFound", f"{what} does not exist"
        if target.section and target.section not in ports:
            return False, "TargetNotFound", f"{what} has no port named {target.section}"
        winner = self._winners(target.service)[target.section]
        if winner != key:
            text = f"the older BackendTLSPolicy {winner.namespace}/{winner.name} has the same target"
            return False, "Conflicted", text
        return self._invalid(key) or (True, "Accepted", "")

    def _resolved(self, key: Key) -> Verdict:
        return next((v for v in self._references_verdicts(key) if not v[0]), (True, "ResolvedRefs", ""))

    def _invalid(self, key: Key) -> Verdict | None:
        """Why nothing can be verified by a policy; None if it can."""
        validation = self._policies[key].spec.validation
        verdicts = self._references_verdicts(key)
        if verdicts:
            return None if verdicts[0][0] else (False, "NoValidCACertificate", verdicts[0][2])
        if validation.well_known_ca_certificates == "System":
            return None
        known = validation.well_known_ca_certificates
        text = f"wellKnownCACertificates: {known} is unknown; use System" if known else "no CA certificates are named"
        return False, "Invalid", text

    def _references_verdicts(self, key: Key) -> list[Verdict]:
        verdicts = []
        for index, ref in enumerate(self._policies[key].spec.validation.ca_certificate_refs):
            what = f"{ref.kind} {key.namespace}/{ref.name}"
            usable = self._roots(Key("ConfigMap", key.namespace, ref.name))
            if ref.group not in ("", "core") or ref.kind != "ConfigMap":
                verdicts.append((False, "InvalidKind", f"{what} has no CA certificates; use a ConfigMap with ca.crt"))
            elif not usable:
                text = "has no PEM certificates in ca.crt" if usable is not None else "does not exist"
                verdicts.append((False, "InvalidCACertificateRef", f"{what} {text}"))
            elif index:
                verdicts.append((False, "InvalidCACertificateRef", "more than one CA certificate is not supported yet"))
            else:
                verdicts.append((True, "ResolvedRefs", ""))
        return verdicts


def _targets(key: Key, policy: BackendTLSPolicy | None) -> list[Target]:
    refs = policy.spec.target_refs if policy is not None else ()
    kinds = [(_KINDS.get((r.group, r.kind)), r) for r in refs]
    return [Target(Key(kind, key.namespace, r.name), r.section_name or "") for kind, r in kinds if kind is not None]


def _references(key: Key, policy: BackendTLSPolicy) -> Iterator[Key]:
    yield from (Key(r.kind, key.namespace, r.name) for r in policy.spec.validation.ca_certificate_refs)
