"""The certificates that Gateways and ListenerSets of the Gateway API refer to: whether each can be used, and by whom it is. Pure.

A ReferenceGrant for Gateways holds for no ListenerSet, and the reverse. Source: the Gateway API's specification, ReferenceGrant and GEP-1713.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sailcloth.api.gateway_api import KubernetesGateway, Listener, SecretReference
from sailcloth.api.meta import Key
from sailcloth.lib.relation import Relation

from .gateway_listeners import LISTENER_SET, Verdict
from .http_rules import HttpRules, Service


class References:
    """`certificate`: whether a Secret has a usable certificate, by namespace and name; None if there is no such Secret. `roots`: the same of
    CA certificates, in a Secret or ConfigMap."""

    def __init__(
        self,
        certificate: Callable[[str, str], bool | None],
        roots: Callable[[Key], bool | None],
        rules: HttpRules,
    ) -> None:
        self._certificate, self._has_roots, self._rules = certificate, roots, rules
        self._users: Relation[Key, Key] = Relation()

    def put(self, user: Key, references: Iterable[SecretReference] = ()) -> None:
        """What a Gateway or ListenerSet refers to; nothing once it is gone."""
        self._users.put(user, (Key(r.kind, r.namespace or user.namespace, r.name) for r in references))

    def users(self, referent: Key) -> list[Key]:
        """The Gateways and ListenerSets that refer to a Secret or ConfigMap, sorted."""
        return sorted(self._users.at(referent))

    def foreign_users(self, namespace: str) -> list[Key]:
        """Those of other namespaces that refer to any in a namespace, sorted."""
        found = {u for r in self._users if r.namespace == namespace for u in self._users.at(r)}
        return sorted(u for u in found if u.namespace != namespace)

    def certificate(self, reference: SecretReference, user: Key) -> Verdict:
        """Whether a certificate can be used, as ResolvedRefs."""
        own = reference.namespace or user.namespace
        if reference.group not in ("", "core") or reference.kind != "Secret":
            return False, "InvalidCertificateRef", f"{reference.group}/{reference.kind} is no certificate; use a Secret"
        what = f"Secret {own}/{reference.name}"
        if (refused := self._refused(reference, user)) is not None:
            return refused
        usable = self._certificate(own, reference.name)
        if usable:
            return True, "ResolvedRefs", ""
        text = "has no valid certificate with its key" if usable is not None else "does not exist"
        return False, "InvalidCertificateRef", f"{what} {text}"

    def roots(self, reference: SecretReference, user: Key) -> Verdict:
        """Whether CA certificates can be used, as ResolvedRefs."""
        own = reference.namespace or user.namespace
        if reference.group not in ("", "core") or reference.kind not in ("ConfigMap", "Secret"):
            text = f"{reference.kind} {reference.name} has no CA certificates; use a ConfigMap with ca.crt"
            return False, "InvalidCACertificateKind", text
        if (refused := self._refused(reference, user)) is not None:
            return refused
        usable = self._has_roots(Key(reference.kind, own, reference.name))
        if usable:
            return True, "ResolvedRefs", ""
        text = "has no PEM certificates in ca.crt" if usable is not None else "does not exist"
        return False, "InvalidCACertificateRef", f"{reference.kind} {own}/{reference.name} {text}"

    def _refused(self, reference: SecretReference, user: Key) -> Verdict | None:
        own, kind = reference.namespace or user.namespace, LISTENER_SET if user.kind == LISTENER_SET else "Gateway"
        if own == user.namespace or self._rules.granted(
            Service(own, reference.name), user.namespace, kind, reference.kind
        ):
            return None
        what = f"{reference.kind} {reference.name}"
        return False, "RefNotPermitted", f"no ReferenceGrant in {own} lets {kind}s of {user.namespace} use {what}"


def of_gateway(gateway: KubernetesGateway) -> Iterator[SecretReference]:
    """What a Gateway refers to: its parameters, its certificates, and the CA certificates for its clients and for those of its ListenerSets."""
    if (client := gateway.spec.tls.backend.client_certificate_ref) is not None:
        yield client
    if (parameters := gateway.spec.infrastructure.parameters_ref) is not None:
        yield SecretReference(group=parameters.group, kind=parameters.kind, name=parameters.name)
    yield from of_listeners(gateway.spec.listeners)
    frontend = gateway.spec.tls.frontend
    for settings in (frontend.default, *(p.tls for p in frontend.per_port)):
        yield from settings.validation.ca_certificate_refs if settings.validation is not None else ()


def of_listeners(listeners: Iterable[Listener]) -> Iterator[SecretReference]:
    """The certificates of listeners."""
    for listener in listeners:
        yield from listener.tls.certificate_refs if listener.tls is not None else ()
