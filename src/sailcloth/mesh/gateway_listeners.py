"""The listeners of a Gateway of the Gateway API: whether each is valid, and the server of Istio's Gateway that it becomes. Pure.

Must not know routes. Source: the Gateway API's specification, Gateway.spec.listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from sailcloth.api.gateway import Gateway, GatewaySpec, Port, Server, ServerTLSSettings
from sailcloth.api.gateway_api import GROUP, ClientValidation, KubernetesGateway, Listener, SecretReference
from sailcloth.api.meta import Key, Object, ObjectMeta
from sailcloth.lib import label_selector

from . import hosts

SEMANTICS = "internal.istio.io/gateway-semantics"
SERVICE = "internal.istio.io/gateway-service"
GRANTED = "kubernetes-gateway://"
"""Begins the name of a credential of another namespace (`kubernetes-gateway://NAMESPACE/NAME`), which a ReferenceGrant lets a Gateway use.
Only generated Gateways may have such names (`is_generated`): what users write in others grants nothing."""
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
SecretProblem = Callable[[SecretReference, str], Verdict]
"""Whether a certificate of a Gateway in a namespace, or CA certificates for its clients, can be used, as ResolvedRefs."""


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
    return GatewayClient(metadata=metadata, certificate=_credential(ref, key.namespace))


@dataclass(frozen=True)
class ListenerState:
    """A listener with its conditions, each as (whether, reason, message). `kinds`: of the routes that may be attached."""

    listener: Listener
    kinds: tuple[str, ...]
    accepted: Verdict = (True, "Accepted", "")
    conflicted: Verdict = (False, "NoConflicts", "")
    resolved: Verdict = (True, "ResolvedRefs", "")

    @property
    def serves(self) -> bool:
        """Whether the gateway opens it."""
        return self.accepted[0] and not self.conflicted[0] and self.resolved[1] not in _FATAL

    @property
    def hostname(self) -> str:
        """Its host name; `*` for all."""
        return hosts.normalized(self.listener.hostname or "*")

    def allows(self, gateway: str, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether routes of a namespace may be attached. gateway: the Gateway's namespace."""
        allowed = self.listener.allowed_routes.namespaces
        if allowed.from_ == "Selector":
            return label_selector.matches(allowed.selector, {"kubernetes.io/metadata.name": namespace, **labels})
        return allowed.from_ == "All" or (allowed.from_ == "Same" and namespace == gateway)


_FATAL = frozenset(("InvalidCertificateRef", "RefNotPermitted"))


@dataclass(frozen=True)
class GatewayState:
    """A Gateway with its listeners, in their order. `accepted`: as (whether, reason, message)."""

    gateway: KubernetesGateway
    listeners: tuple[ListenerState, ...] = ()
    accepted: Verdict = (True, "Accepted", "")
    services: tuple[str, ...] = field(default=())  # hosts of the services whose pods serve it
    client: Verdict | None = None  # whether its own client certificate can be used; None without one


def evaluate(
    gateway: KubernetesGateway, services: tuple[str, ...], secret: SecretProblem, roots: SecretProblem
) -> GatewayState:
    """The state of a Gateway of one of our classes. secret, roots: judge its certificates, and the CA certificates for its clients."""
    states: list[ListenerState] = []
    for listener in gateway.spec.listeners:
        state = _listener(listener, gateway.metadata.namespace, states, secret)
        states.append(_with_clients(state, gateway, roots))
    valid = [s.accepted[0] and not s.conflicted[0] for s in states]
    accepted = (True, "Accepted", "")
    if not all(valid):
        accepted = (any(valid), "ListenersNotValid", "listeners are not valid; their conditions say why")
    if (parameters := gateway.spec.infrastructure.parameters_ref) is not None:
        text = f"infrastructure.parametersRef: {parameters.kind} {parameters.name} is not supported yet"
        accepted = (False, "InvalidParameters", text)
    if unknown := [a.type for a in gateway.spec.addresses if a.type not in ("IPAddress", "Hostname")]:
        accepted = (
            False,
            "UnsupportedAddress",
            f"addresses of type {unknown[0]} are not supported; use IPAddress or Hostname",
        )
    own = gateway.spec.tls.backend.client_certificate_ref
    client = secret(own, gateway.metadata.namespace) if own is not None else None
    if client is not None and client[1] == "InvalidCertificateRef":
        client = (False, "InvalidClientCertificateRef", client[2])
    return GatewayState(gateway, tuple(states), accepted, services, client)


def _listener(listener: Listener, namespace: str, earlier: list[ListenerState], secret: SecretProblem) -> ListenerState:
    known = _ROUTE_KINDS.get(listener.protocol)
    if known is None:
        text = f"protocol {listener.protocol} is not supported yet; use {' or '.join(_ROUTE_KINDS)}"
        return ListenerState(listener, (), accepted=(False, "UnsupportedProtocol", text))
    wanted = listener.allowed_routes.kinds
    kinds = tuple(k.kind for k in wanted if k.group == GROUP and k.kind in known) if wanted else known
    resolved: Verdict = (True, "ResolvedRefs", "")
    if wanted and len(kinds) < len(wanted):
        resolved = (False, "InvalidRouteKinds", f"{listener.protocol} takes {', '.join(known)}")
    if listener.protocol == "HTTPS" or (listener.protocol == "TLS" and not is_passthrough(listener)):
        resolved = min(resolved, _certificates(listener, namespace, secret), key=lambda v: v[0])
    return ListenerState(listener, kinds, conflicted=_conflict(listener, earlier), resolved=resolved)


def client_validation(gateway: KubernetesGateway, listener: Listener) -> ClientValidation | None:
    """How a listener verifies its clients' certificates; None if it asks for none."""
    if listener.protocol != "HTTPS":
        return None
    frontend = gateway.spec.tls.frontend
    own = next((p.tls for p in frontend.per_port if p.port == listener.port), frontend.default)
    return own.validation


def _with_clients(state: ListenerState, gateway: KubernetesGateway, roots: SecretProblem) -> ListenerState:
    """The listener with what is wrong with the CA certificates for its clients. Without any that can be used it serves nobody."""
    validation = client_validation(gateway, state.listener)
    if validation is None:
        return state
    verdicts = [roots(ref, gateway.metadata.namespace) for ref in validation.ca_certificate_refs]
    if len(verdicts) > 1:
        verdicts[1:] = [(False, "InvalidCACertificateRef", "more than one CA certificate is not supported yet")]
    wrong = next((v for v in verdicts if not v[0]), None)
    if wrong is None:
        return state
    accepted = state.accepted if verdicts[0][0] else (False, "NoValidCACertificate", wrong[2])
    return replace(state, accepted=accepted, resolved=wrong if state.resolved[0] else state.resolved)


_SHARING = {"HTTPS": "TLS"}
"""Protocols that share a port with another, told apart by the name that clients ask for."""


def is_passthrough(listener: Listener) -> bool:
    """Whether a listener hands TLS on to the backend."""
    return listener.protocol == "TLS" and (listener.tls is None or listener.tls.mode == "Passthrough")


def _certificates(listener: Listener, namespace: str, secret: SecretProblem) -> Verdict:
    tls = listener.tls
    if tls is None or not tls.certificate_refs:
        return False, "InvalidCertificateRef", "tls.certificateRefs is needed"
    if tls.mode != "Terminate":
        return False, "InvalidCertificateRef", f"a listener for HTTPS ends TLS; mode {tls.mode} is for protocol TLS"
    return next(
        (v for v in (secret(r, namespace) for r in tls.certificate_refs) if not v[0]), (True, "ResolvedRefs", "")
    )


def _conflict(listener: Listener, earlier: list[ListenerState]) -> Verdict:
    """Whether an earlier listener has the port with another protocol, or the same host name."""
    for other in earlier:
        if not _same_port(other.listener, listener) or not other.accepted[0]:
            continue
        if _SHARING.get(other.listener.protocol, other.listener.protocol) != _SHARING.get(
            listener.protocol, listener.protocol
        ):
            text = f"port {listener.port} is {other.listener.protocol} in listener {other.listener.name}"
            return True, "ProtocolConflict", text
        if (other.listener.hostname or "") == (listener.hostname or "") or listener.protocol in ("TCP", "UDP"):
            return True, "HostnameConflict", f"listener {other.listener.name} has the same port and host name"
    return False, "NoConflicts", ""


def _same_port(one: Listener, other: Listener) -> bool:
    """Whether two listeners would open one port; TCP and UDP each have their own port numbers."""
    return one.port == other.port and (one.protocol == "UDP") == (other.protocol == "UDP")


def server(key: Key, state: GatewayState, listener: ListenerState) -> tuple[Key, Gateway]:
    """Istio's Gateway of one listener. Its routes are bound to it by name, so it is open for all namespaces."""
    own = listener.listener
    tls = ServerTLSSettings(mode="PASSTHROUGH") if is_passthrough(own) else None
    if tls is None and own.protocol in ("HTTPS", "TLS") and own.tls is not None:
        names = tuple(_credential(ref, key.namespace) for ref in own.tls.certificate_refs)
        tls = (
            ServerTLSSettings(mode="SIMPLE", credential_names=names)
            if len(names) > 1
            else ServerTLSSettings(mode="SIMPLE", credential_name=names[0])
        )
        if (validation := client_validation(state.gateway, own)) is not None:
            lenient = is_lenient(validation)
            tls = msgspec.structs.replace(
                tls,
                mode="OPTIONAL_MUTUAL" if lenient else "MUTUAL",
                insecure_skip_verify=lenient,
                ca_cert_credential_name=_roots(validation.ca_certificate_refs[0], key.namespace),
            )
    metadata = ObjectMeta(
        name=f"{key.name}~{own.name}",
        namespace=key.namespace,
        creation_timestamp=state.gateway.metadata.creation_timestamp,
        annotations={SEMANTICS: "gateway", SERVICE: ",".join(state.services)},
    )
    port = Port(number=own.port, protocol=own.protocol, name=own.name)
    spec = GatewaySpec(servers=(Server(port=port, hosts=(f"*/{listener.hostname}",), tls=tls),))
    return Key("Gateway", key.namespace, metadata.name), Gateway(metadata=metadata, spec=spec)


def is_lenient(validation: ClientValidation) -> bool:
    """Whether clients without a valid certificate are let in, too."""
    return validation.mode == "AllowInsecureFallback"


def _roots(ref: SecretReference, namespace: str) -> str:
    own = ref.namespace or namespace
    return config_map_roots(own, ref.name) if ref.kind == "ConfigMap" else f"{GRANTED}{own}/{ref.name}"


def config_map_roots(namespace: str, name: str) -> str:
    """The name of the credential with the CA certificates of a ConfigMap."""
    return f"{GRANTED}{namespace}/{CONFIG_MAP}{name}"


def _credential(ref: SecretReference, namespace: str) -> str:
    own = ref.namespace or namespace
    return ref.name if own == namespace else f"{GRANTED}{own}/{ref.name}"


def exposed(listener: ListenerState, siblings: tuple[ListenerState, ...], names: tuple[str, ...]) -> list[str]:
    """The hosts of a route that a listener serves: where both overlap, without what a sibling with a narrower host name serves."""
    found = []
    for name in map(hosts.normalized, names or ("*",)):
        if hosts.covers(listener.hostname, name):
            host = name
        elif hosts.covers(name, listener.hostname):
            host = listener.hostname
        else:
            continue
        if not any(narrower(s, listener) and hosts.covers(s.hostname, host) for s in siblings):
            found.append(host)
    return list(dict.fromkeys(found))


def narrower(other: ListenerState, listener: ListenerState) -> bool:
    """Whether another listener of the port has a part of a listener's host names."""
    beside = _same_port(other.listener, listener.listener) and other is not listener and other.serves
    return beside and other.hostname != listener.hostname and hosts.covers(listener.hostname, other.hostname)


def is_generated(gateway: Key) -> bool:
    """Whether a Gateway of Istio is generated: no object of a user may have such a name."""
    return "~" in gateway.name


def supported_kinds(state: ListenerState) -> list[dict[str, Any]]:
    """For the status."""
    return [{"group": GROUP, "kind": kind} for kind in state.kinds]
