"""Writes the statuses of GatewayClasses and Gateways of the Gateway API. Must not evaluate them; `mesh.kubernetes_gateways` does.

A Gateway is `Programmed` when it has an address and a ready pod of its own, or that of the service it is attached to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sailcloth.api.gateway_api import CONTROLLER, GROUP
from sailcloth.api.meta import Key
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.kube.resources import ENDPOINTSLICES, SERVICES
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh import gateway_listeners
from sailcloth.mesh.gateway_listeners import GatewayState, ListenerState, Verdict
from sailcloth.mesh.kubernetes_gateways import KIND, OWN_CLASSES, KubernetesGateways

from . import conditions, listener_status
from .status_api import merge_status

CLASSES = Resource(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
GATEWAYS = Resource(GROUP, "v1", "gateways", "Gateway")
FEATURES = (
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructurePropagation",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "Mesh",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
)
"""Names of the API's features that work, for the class; sorted."""
_WAITING_S = 1.0  # between looks at a Gateway that has no address or no ready pod yet
_UNSERVED_S = 5.0  # between looks at a cluster that does not serve the kind
Object = dict[str, Any]


class GatewayStatus:
    """Call `enqueue_evaluated` after changes; `run` writes until cancelled. `programmed`: that condition of each Gateway; `on_programmed` is
    called with one that has another."""

    def __init__(self, client: Client, gateways: KubernetesGateways) -> None:
        self._client, self._gateways = client, gateways
        self.programmed: dict[Key, Verdict] = {}
        self.on_programmed: Callable[[Key], None] = lambda _: None
        self.queue = WorkQueue(self._reconcile, name="status of Gateways", retry=RETRIABLE)

    def enqueue_evaluated(self) -> None:
        """Queue what was evaluated again since the last call."""
        self.queue.add_all(Key("GatewayClass", "", name) for name in sorted(self._gateways.classes_evaluated))
        self.queue.add_all(sorted(self._gateways.gateways_evaluated))
        self._gateways.classes_evaluated.clear()
        self._gateways.gateways_evaluated.clear()

    async def run(self) -> None:
        """Create the classes that are missing, and write until cancelled."""
        self.queue.add_all(Key("GatewayClass", "", name) for name in OWN_CLASSES)
        await self.queue.run()

    async def _reconcile(self, key: Key) -> None:
        resource = GATEWAYS if key.kind == KIND else CLASSES
        try:
            obj = await self._client.get(resource, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            if key.kind != KIND:
                await self._create_class(key)
            self.programmed.pop(key, None)
            return
        status = obj.get("status") or {}
        generation = int(obj["metadata"].get("generation") or 1)
        if key.kind == KIND:
            state = self._gateways.states.get(key)
            if state is None:
                self.programmed.pop(key, None)
                return
            new = await self._gateway(key, state, status, generation)
        elif self._gateways.is_ours(key.name):
            accepted = conditions.condition(
                "Accepted", True, "Accepted", "", generation, status.get("conditions") or [], conditions.utc_now()
            )
            new = {"conditions": [accepted], "supportedFeatures": [{"name": name} for name in FEATURES]}
        else:
            return
        if new != {name: status.get(name) for name in new}:
            await merge_status(self._client, resource, key, new)

    async def _create_class(self, key: Key) -> None:
        """Create one of the classes that every mesh has. Where the kind is not served yet, later."""
        body = {
            "apiVersion": CLASSES.api_version,
            "kind": CLASSES.kind,
            "metadata": {"name": key.name},
            "spec": {"controllerName": CONTROLLER, "description": "Gateways that run Envoy, as a Deployment each."},
        }
        try:
            await self._client.create(CLASSES, body)
        except ApiError as error:
            if error.status != 404:
                raise
            self.queue.add(key, _UNSERVED_S)

    async def _gateway(self, key: Key, state: GatewayState, old: Object, generation: int) -> Object:
        addresses, ready, absent = await self._services(state)
        programmed: Verdict = (True, "Programmed", "")
        lacking = _lacking(state, addresses)
        if not state.opens:
            programmed = (False, "Invalid", state.accepted[2])
        elif absent:
            programmed = (False, "AddressNotUsable", f"service {absent[0]} does not exist")
        elif lacking:
            programmed = (False, "AddressNotUsable", f"no load balancer has assigned the address {lacking}")
        elif not addresses or not ready:
            programmed = (
                False,
                "AddressNotAssigned" if not addresses else "NoResources",
                f"waiting for {'an address' if not addresses else 'a ready pod'} of {state.services[0]}",
            )
        if not programmed[0] and programmed[1] != "Invalid":
            self.queue.add(key, _WAITING_S)
        if self.programmed.get(key) != programmed:
            self.programmed[key] = programmed
            self.on_programmed(key)
        attached = [self._gateways.attached(key, s.ident) for s in state.listeners]
        return {
            "addresses": addresses,
            "attachedListenerSets": self._gateways.attached_sets(key),
            "conditions": listener_status.of(
                {"Accepted": state.accepted, "Programmed": programmed, **_more(state, self._gateways.listeners(key))},
                old,
                generation,
            ),
            "listeners": listener_status.entries(state.listeners, attached, old, generation),
        }

    async def _services(self, state: GatewayState) -> tuple[list[Object], bool, list[str]]:
        """(addresses, whether a pod is ready, those that do not exist) of the services of a Gateway."""
        addresses: list[Object] = []
        ready, absent = False, []
        for host in state.services:
            name, _, rest = host.partition(".")
            namespace, kind, _ = (*rest.split(".", 2), "", "")[:3]
            if kind != "svc":
                continue  # a host outside the cluster, which has no pods to ask for
            try:
                service = await self._client.get(SERVICES, name, namespace)
            except ApiError as error:
                if error.status != 404:
                    raise
                absent.append(host)
                continue
            balanced = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
            addresses += (
                {"type": "IPAddress", "value": a["ip"]} if "ip" in a else {"type": "Hostname", "value": a["hostname"]}
                for a in balanced
            )
            slices, _ = await self._client.list(ENDPOINTSLICES, namespace, f"kubernetes.io/service-name={name}")
            endpoints = (e for s in slices for e in s.get("endpoints") or ())
            ready = ready or any((e.get("conditions") or {}).get("ready", True) for e in endpoints)
        return addresses, ready, absent


def _lacking(state: GatewayState, assigned: list[Object]) -> str:
    """An IP address that a Gateway asks for and does not have; empty without one."""
    found = {a["value"] for a in assigned}
    asked = (a.value for a in state.gateway.spec.addresses if a.type == "IPAddress" and a.value)
    return next((address for address in asked if address not in found), "")


def _more(state: GatewayState, listeners: Iterable[ListenerState]) -> dict[str, Verdict]:
    """Whether the Gateway's own client certificate can be used, and whether clients without a valid one are let in somewhere. listeners: also
    those of its ListenerSets."""
    found: dict[str, Verdict] = {"ResolvedRefs": state.client or (True, "ResolvedRefs", "")}
    validations = (gateway_listeners.client_validation(state.gateway, s.listener) for s in listeners)
    if not any(v is not None and gateway_listeners.is_lenient(v) for v in validations):
        return found
    text = "clients without a valid certificate are let in, too"
    return found | {"InsecureFrontendValidationMode": (True, "ConfigurationChanged", text)}
