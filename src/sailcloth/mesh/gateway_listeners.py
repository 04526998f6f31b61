"""The listeners of Gateways and ListenerSets of the Gateway API: whether each is valid by itself, and the server of Istio's Gateway that it
becomes. Pure.

Must not know routes, or what is in conflict; `merged_listeners` does. Source: the Gateway API's specification, Gateway.spec.listeners and
ListenerSet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from sailcloth.api.gateway import Gateway, GatewaySpec, Server, ServerTLSSettings
from sailcloth.api.gateway import Port as ServerPort
from sailcloth.api.gateway_api import (
    GROUP,
    ClientValidation,
    KubernetesGateway,
    Listener,
    ListenerTLS,
    RouteNamespaces,
    SecretReference,
)
from sailcloth.api.meta import Key, Object, ObjectMeta
from sailcloth.lib import label_selector

from . import hosts
from .gateway_parameters import Parameters

GATEWAY = "KubernetesGateway"
LISTENER_SET = "ListenerSet"
"""The kinds of the parents of listeners, in keys."""
SEMANTICS = "internal.istio.io/gateway-semantics"
SERVICE = "internal.istio.io/gateway-service"
GRANTED = "kubernetes-gateway://"
"""Begins the name of a credential of another namespace (`kubernetes-gateway://NAMESPACE/NAME`), which a ReferenceGrant lets a Gateway use.
Only generated Gateways may have such names (`is_generated`): what users write in others grants nothing."""
WORKLOAD = "builtin://"
"""The name of the credential that is the gateway's own certificate, in Istio's words."""
_TERMINATE = "gateway.istio.io/tls-terminate-mode"
_TERMINATE_MODES = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL", "ISTIO_SIMPLE")
_CIPHERS = "gateway.istio.io/tls-cipher-suites"
_PROTOCOL = "gateway.istio.io/listener-protocol"
_NETWORK, _GATEWAY_PORT = "topology.istio.io/network", "networking.istio.io/gatewayPort"
_CROSS_NETWORK_PORT = "15443"
CONFIG_MAP = "configmap/"
"""Begins the name of a credential with the CA certificates of a ConfigMap."""
_ROUTE_KINDS = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute",),
    "TCP": ("TCPRoute",),
    "UDP": ("UDPRoute",),
}
"""The kinds of routes that listeners of a protocol take."""

Verdict = tuple[bool, str, str]
SecretProblem = Callable[[SecretReference, Key], Verdict]
"""Whether a certificate of a Gateway or ListenerSet, or CA certificates for a Gateway's clients, can be used, as ResolvedRefs."""
Port = tuple[int, str]
"""Number and transport: TCP and UDP have port numbers of their own."""


class GatewayClient(Object):
    """The certificate that a Gateway shows to backends with a BackendTLSPolicy, by the name of its credential."""

    certificate: str = ""


def client_key(namespace: str, gateway: str) -> Key:
    """The key of a Gateway's `GatewayClient`."""
    return Key("GatewayClient", namespace, gateway)


def client_of(key: Key, state: GatewayState | None) -> GatewayClient | None:
    """The client certificate of a Gateway; None without one that can be used."""
    ref = state.gateway.spec.tls.backend.client_certificate_ref if state is not None else None
    if state is None or ref is None or state.client is None or not state.client[0]:
        return None
    metadata = ObjectMeta(name=key.name, namespace=key.namespace)
    return GatewayClient(metadata=metadata, certificate=_credential(ref, key.namespace, key.namespace))


@dataclass(frozen=True)
class ListenerState:
    """A listener with its conditions, each as (whether, reason, message). `parent`: the Gateway or ListenerSet that it belongs to; `kinds`: of
    the routes that may be attached."""

    listener: Listener
    parent: Key
    kinds: tuple[str, ...]
    accepted: Verdict = (True, "Accepted", "")
    conflicted: Verdict = (False, "NoConflicts", "")
    resolved: Verdict = (True, "ResolvedRefs", "")

    @property
    def serves(self) -> bool:
        """Whether the gateway opens it."""
        return self.valid and self.resolved[1] not in _FATAL

    @property
    def valid(self) -> bool:
        """Whether it has its port and host name."""
        return self.accepted[0] and not self.conflicted[0]

    @property
    def hostname(self) -> str:
        """Its host name; `*` for all."""
        return hosts.normalized(self.listener.hostname or "*")

    @property
    def ident(self) -> str:
        """Its name among all listeners of the Gateway, for those of ListenerSets may have the same names."""
        parts = (self.parent.namespace, self.parent.name) if self.parent.kind == LISTENER_SET else ()
        return "~".join((*parts, self.listener.name))

    def allows(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether routes of a namespace may be attached."""
        return selects(self.listener.allowed_routes.namespaces, self.parent.namespace, namespace, labels)


_LISTENERS = "ListenersNotValid"
_FATAL = frozenset(("InvalidCertificateRef", "RefNotPermitted"))


def selects(allowed: RouteNamespaces, own: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether an object in the namespace `own` allows those of another one, which has labels."""
    if allowed.from_ == "Selector":
        return label_selector.matches(allowed.selector, {"kubernetes.io/metadata.name": namespace, **labels})
    return allowed.from_ == "All" or (allowed.from_ == "Same" and namespace == own)


@dataclass(frozen=True)
class GatewayState:
    """A Gateway with its own listeners, in their order. `accepted`: as (whether, reason, message)."""

    gateway: KubernetesGateway
    listeners: tuple[ListenerState, ...] = ()
    accepted: Verdict = (True, "Accepted", "")
    services: tuple[str, ...] = field(default=())  # hosts of the services whose pods serve it
    client: Verdict | None = None  # whether its own client certificate can be used; None without one
    patches: Mapping[str, dict[str, Any]] = field(default_factory=dict)  # of its parameters

    @property
    def opens(self) -> bool:
        """Whether it opens the listeners that are valid, its own and those of its ListenerSets."""
        return self.accepted[0] or self.accepted[1] == _LISTENERS


def evaluate(
    gateway: KubernetesGateway,
    listeners: tuple[ListenerState, ...],
    services: tuple[str, ...],
    client: Verdict | None,
    parameters: Parameters,
) -> GatewayState:
    """The state of a Gateway of one of our classes. client: whether the Secret of its client certificate can be used."""
    valid = [s.valid for s in listeners]
    accepted = (True, "Accepted", "")
    if not all(valid) or (listeners and not any(s.serves for s in listeners)):
        usable = any(s.serves for s in listeners)
        accepted = (usable, _LISTENERS, "listeners are not valid; their conditions say why")
    if parameters.problem:
        accepted = (False, "InvalidParameters", parameters.problem)
    if unknown := [a.type for a in gateway.spec.addresses if a.type not in ("IPAddress", "Hostname")]:
        accepted = (
            False,
            "UnsupportedAddress",
            f"addresses of type {unknown[0]} are not supported; use IPAddress or Hostname",
        )
    if client is not None and client[1] == "InvalidCertificateRef":
        client = (False, "InvalidClientCertificateRef", client[2])
    return GatewayState(gateway, listeners, accepted, services, client, parameters.patches)


def judge(
    parent: Key,
    listeners: Iterable[Listener],
    key: Key,
    gateway: KubernetesGateway,
    secret: SecretProblem,
    roots: SecretProblem,
) -> tuple[ListenerState, ...]:
    """The listeners of a Gateway, or of a ListenerSet of it, each by itself: without conflicts. secret, roots: judge certificates, and the CA
    certificates for clients, which the Gateway names."""
    judged = (_listener(listener, parent, secret) for listener in listeners)
    return tuple(_with_clients(s, key, gateway, roots) for s in judged)


def _listener(listener: Listener, parent: Key, secret: SecretProblem) -> ListenerState:
    known = _ROUTE_KINDS.get(listener.protocol)
    if known is None:
        text = f"protocol {listener.protocol} is not supported yet; use {' or '.join(_ROUTE_KINDS)}"
        return ListenerState(listener, parent, (), accepted=(False, "UnsupportedProtocol", text))
    wanted = listener.allowed_routes.kinds
    kinds = tuple(k.kind for k in wanted if k.group == GROUP and k.kind in known) if wanted else known
    resolved: Verdict = (True, "ResolvedRefs", "")
    if wanted and len(kinds) < len(wanted):
        resolved = (False, "InvalidRouteKinds", f"{listener.protocol} takes {', '.join(known)}")
    mode = listener.tls.options.get(_TERMINATE, "SIMPLE") if listener.tls is not None else "SIMPLE"
    if mode not in _TERMINATE_MODES:
        text = f"tls.options: {_TERMINATE} {mode} is unknown; use {' or '.join(_TERMINATE_MODES)}"
        return ListenerState(listener, parent, kinds, accepted=(False, "UnsupportedValue", text))
    if listener.protocol == "HTTPS" and listener.tls is None:
        return ListenerState(listener, parent, kinds, accepted=(False, "UnsupportedProtocol", "HTTPS needs tls"))
    if listener.protocol == "HTTPS" or (listener.protocol == "TLS" and not is_passthrough(listener)):
        found = _certificates(listener, parent, secret)
        if found[1] == "RefNotPermitted":  # Istio's reason, although the certificate is the server's
            accepted = (False, "NoValidCACertificate", found[2])
            return ListenerState(listener, parent, kinds, accepted=accepted, resolved=found)
        resolved = min(resolved, found, key=lambda v: v[0])
    return ListenerState(listener, parent, kinds, resolved=resolved)


def client_validation(gateway: KubernetesGateway, listener: Listener) -> ClientValidation | None:
    """How a listener verifies its clients' certificates; None if it asks for none."""
    if listener.protocol != "HTTPS":
        return None
    frontend = gateway.spec.tls.frontend
    own = next((p.tls for p in frontend.per_port if p.port == listener.port), frontend.default)
    return own.validation


def _with_clients(state: ListenerState, key: Key, gateway: KubernetesGateway, roots: SecretProblem) -> ListenerState:
    """The listener with what is wrong with the CA certificates for its clients. Without any that can be used it serves nobody."""
    validation = client_validation(gateway, state.listener)
    if validation is None:
        return state
    verdicts = [roots(ref, key) for ref in validation.ca_certificate_refs]
    if len(verdicts) > 1:
        verdicts[1:] = [(False, "InvalidCACertificateRef", "more than one CA certificate is not supported yet")]
    wrong = next((v for v in verdicts if not v[0]), None)
    if wrong is None:
        return state
    accepted = state.accepted if verdicts[0][0] else (False, "NoValidCACertificate", wrong[2])
    return replace(state, accepted=accepted, resolved=wrong if state.resolved[0] else state.resolved)


def is_passthrough(listener: Listener) -> bool:
    """Whether a listener hands TLS on to the backend."""
    return listener.protocol == "TLS" and (listener.tls is None or listener.tls.mode == "Passthrough")


def port_of(listener: Listener) -> Port:
    """The port that a listener opens."""
    return listener.port, "UDP" if listener.protocol == "UDP" else "TCP"


def _certificates(listener: Listener, parent: Key, secret: SecretProblem) -> Verdict:
    tls = listener.tls
    if tls is not None and tls.options.get(_TERMINATE) in ("ISTIO_MUTUAL", "ISTIO_SIMPLE"):
        return True, "ResolvedRefs", ""
    if tls is None or not tls.certificate_refs:
        return False, "InvalidCertificateRef", "tls.certificateRefs is needed"
    if tls.mode != "Terminate":
        return False, "InvalidCertificateRef", f"a listener for HTTPS ends TLS; mode {tls.mode} is for protocol TLS"
    return next((v for v in (secret(r, parent) for r in tls.certificate_refs) if not v[0]), (True, "ResolvedRefs", ""))


def server_key(gateway: Key, listener: str) -> Key:
    """The key of Istio's Gateway of a listener, by its ident."""
    return Key("Gateway", gateway.namespace, f"{gateway.name}~{listener}")


def server(key: Key, state: GatewayState, listener: ListenerState) -> Gateway:
    """Istio's Gateway of one listener. Its routes are bound to it by name, so it is open for all namespaces."""
    own = listener.listener
    tls = _server_tls(key, state, listener) if own.protocol in ("HTTPS", "TLS") else None
    metadata = ObjectMeta(
        name=server_key(key, listener.ident).name,
        namespace=key.namespace,
        creation_timestamp=state.gateway.metadata.creation_timestamp,
        annotations={SEMANTICS: "gateway", SERVICE: ",".join(state.services)},
    )
    port = ServerPort(number=own.port, protocol=own.protocol, name=own.name)
    spec = GatewaySpec(servers=(Server(port=port, hosts=(f"*/{listener.hostname}",), tls=tls),))
    return Gateway(metadata=metadata, spec=spec)


def _server_tls(key: Key, state: GatewayState, listener: ListenerState) -> ServerTLSSettings:
    own = listener.listener
    given = own.tls or ListenerTLS()
    ciphers = tuple(c.strip() for c in given.options.get(_CIPHERS, "").split(",") if c.strip())
    if is_passthrough(own):
        across = _is_cross_network(state.gateway, own)
        return ServerTLSSettings(mode="AUTO_PASSTHROUGH" if across else "PASSTHROUGH", cipher_suites=ciphers)
    mode = given.options.get(_TERMINATE)
    if mode == "ISTIO_MUTUAL":
        return ServerTLSSettings(mode="ISTIO_MUTUAL", cipher_suites=ciphers)
    if mode == "ISTIO_SIMPLE":
        return ServerTLSSettings(mode="SIMPLE", credential_name=WORKLOAD, cipher_suites=ciphers)
    names = tuple(_credential(ref, listener.parent.namespace, key.namespace) for ref in given.certificate_refs)
    tls = ServerTLSSettings(
        mode="OPTIONAL_MUTUAL" if mode == "OPTIONAL_MUTUAL" else "MUTUAL" if mode == "MUTUAL" else "SIMPLE",
        credential_name=names[0] if len(names) == 1 else None,
        credential_names=names if len(names) > 1 else (),
        cipher_suites=ciphers,
    )
    if (validation := client_validation(state.gateway, own)) is None:
        return tls
    lenient = is_lenient(validation)
    return msgspec.structs.replace(
        tls,
        mode="OPTIONAL_MUTUAL" if lenient or mode == "OPTIONAL_MUTUAL" else "MUTUAL",
        insecure_skip_verify=lenient,
        ca_cert_credential_name=_roots(validation.ca_certificate_refs[0], key.namespace),
    )


def _is_cross_network(gateway: KubernetesGateway, listener: Listener) -> bool:
    """Whether a listener passes mutual TLS of other networks on to services, by the names of Istio's clusters."""
    labels, options = gateway.metadata.labels, listener.tls.options if listener.tls is not None else {}
    if options.get(_PROTOCOL) == "auto-passthrough":
        return True
    return _NETWORK in labels and str(listener.port) == labels.get(_GATEWAY_PORT, _CROSS_NETWORK_PORT)


def is_lenient(validation: ClientValidation) -> bool:
    """Whether clients without a valid certificate are let in, too."""
    return validation.mode == "AllowInsecureFallback"


def _roots(ref: SecretReference, namespace: str) -> str:
    own = ref.namespace or namespace
    return config_map_roots(own, ref.name) if ref.kind == "ConfigMap" else f"{GRANTED}{own}/{ref.name}"


def config_map_roots(namespace: str, name: str) -> str:
    """The name of the credential with the CA certificates of a ConfigMap."""
    return f"{GRANTED}{namespace}/{CONFIG_MAP}{name}"


def _credential(ref: SecretReference, namespace: str, gateway: str) -> str:
    """The name of a credential that an object in a namespace refers to; gateway: the namespace of the Gateway."""
    own = ref.namespace or namespace
    return ref.name if own == gateway else f"{GRANTED}{own}/{ref.name}"


def overlap(listener: ListenerState, names: tuple[str, ...]) -> list[str]:
    """The host names that a listener and a route have in common."""
    found = []
    for name in map(hosts.normalized, names or ("*",)):
        if hosts.covers(listener.hostname, name):
            found.append(name)
        elif hosts.covers(name, listener.hostname):
            found.append(listener.hostname)
    return list(dict.fromkeys(found))


def is_generated(gateway: Key) -> bool:
    """Whether a Gateway of Istio is generated: no object of a user may have such a name."""
    return "~" in gateway.name


def supported_kinds(state: ListenerState) -> list[dict[str, Any]]:
    """For the status."""
    return [{"group": GROUP, "kind": kind} for kind in state.kinds]
