"""Makes a Deployment, a Service and a ServiceAccount for each Gateway of the Gateway API that is not attached to others' pods, and what its
parameters want beside them: an autoscaler, a disruption budget.

Named and labelled as Istio does; owned by the Gateway, so they are deleted with it. Fields are applied as this controller's own, so that
users may change others. Must not evaluate Gateways.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sailcloth.api.gateway_api import KubernetesGateway
from sailcloth.api.meta import Key
from sailcloth.api.revision import DEFAULT, LABEL
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.kube.resources import AUTOSCALERS, DEPLOYMENTS, DISRUPTION_BUDGETS, SERVICEACCOUNTS, SERVICES
from sailcloth.lib import strategic_merge
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh.gateway_listeners import GatewayState, ListenerState, port_of
from sailcloth.mesh.kubernetes_gateways import KubernetesGateways, workload_name
from sailcloth.mesh.selection import GATEWAY_NAME

_MANAGER = "istio.io/gateway-controller"
_STATUS_PORT = 15021
_RESOURCES = {r.kind: r for r in (SERVICEACCOUNTS, SERVICES, DEPLOYMENTS, AUTOSCALERS, DISRUPTION_BUDGETS)}
Object = dict[str, Any]


class GatewayDeployments:
    """Call `follow` with Gateways that were evaluated; `run` applies until cancelled."""

    def __init__(self, client: Client, gateways: KubernetesGateways, revision: str = "") -> None:
        self._client, self._gateways, self._revision = client, gateways, revision
        self._applied: dict[Key, list[Object]] = {}
        self.queue = WorkQueue(self._reconcile, name="deployments of Gateways", retry=RETRIABLE)

    def follow(self, keys: set[Key]) -> None:
        """Gateways were added, changed or deleted."""
        self.queue.add_all(sorted(keys))

    async def run(self) -> None:
        """Apply until cancelled."""
        await self.queue.run()

    async def _reconcile(self, key: Key) -> None:
        state = self._gateways.states.get(key)
        if state is None:
            self._applied.pop(key, None)  # the garbage collector deletes what the Gateway owns
            return
        if any(a.type == "Hostname" for a in state.gateway.spec.addresses) or not state.opens:
            return
        wanted = objects(state, self._gateways.listeners(key), self._revision)
        if self._applied.get(key) == wanted:
            return
        for obj in wanted:
            await self._client.apply(_RESOURCES[obj["kind"]], obj, field_manager=_MANAGER, force=True)
        for kind in {o["kind"] for o in self._applied.get(key, ())} - {o["kind"] for o in wanted}:
            await self._delete(_RESOURCES[kind], workload_name(state.gateway), key.namespace)
        self._applied[key] = wanted

    async def _delete(self, resource: Resource, name: str, namespace: str) -> None:
        try:
            await self._client.delete(resource, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise


def objects(state: GatewayState, listeners: Iterable[ListenerState], revision: str = "") -> list[Object]:
    """The ServiceAccount, Service and Deployment of a Gateway, and what its parameters add. listeners: its own and those of its
    ListenerSets. revision: that injects its pods; empty for the one without a name."""
    gateway = state.gateway
    metadata, infrastructure, name = gateway.metadata, gateway.spec.infrastructure, workload_name(gateway)
    labels = {
        **infrastructure.labels,
        "gateway.istio.io/managed": "istio.io-gateway-controller",
        "gateway.networking.k8s.io/gateway-class-name": gateway.spec.gateway_class_name,
        GATEWAY_NAME: metadata.name,
    }
    head = {
        "name": name,
        "namespace": metadata.namespace,
        "labels": labels,
        "annotations": dict(infrastructure.annotations),
        "ownerReferences": [_owner(gateway)],
    }
    selector = {GATEWAY_NAME: metadata.name}
    # Of protocols that share a port, the first by name: whichever listeners come and go, its name stays.
    serving = sorted((s.listener for s in listeners if s.serves), key=lambda own: own.protocol, reverse=True)
    ports = {port_of(own): own.protocol.lower() for own in serving}
    named = [
        ("status-port", _STATUS_PORT, "TCP"),
        *((f"{ports[number, transport]}-{number}", number, transport) for number, transport in sorted(ports)),
    ]
    service = {
        "type": "LoadBalancer",
        "selector": selector,
        "ports": [{"name": n, "port": p, "targetPort": p, "protocol": t} for n, p, t in named],
    }
    if requested := next((a.value for a in gateway.spec.addresses if a.type == "IPAddress" and a.value), ""):
        service["loadBalancerIP"] = requested
    pod = {
        "metadata": {
            "labels": {
                **labels,
                "sidecar.istio.io/inject": "true",
                "service.istio.io/canonical-name": name,
                **({LABEL: revision} if revision not in ("", DEFAULT) else {}),
            },
            "annotations": {**infrastructure.annotations, "inject.istio.io/templates": "gateway"},
        },
        "spec": {"serviceAccountName": name, "containers": [{"name": "istio-proxy", "image": "auto"}]},
    }
    deployment = {"selector": {"matchLabels": selector}, "template": pod}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    made: dict[str, Object] = {
        "serviceAccount": {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": head},
        "service": {"apiVersion": "v1", "kind": "Service", "metadata": head, "spec": service},
        "deployment": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": deployment},
        "horizontalPodAutoscaler": {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": head,
            "spec": {"scaleTargetRef": target},
        },
        "podDisruptionBudget": {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": head,
            "spec": {"selector": {"matchLabels": selector}},
        },
    }
    always = ("serviceAccount", "service", "deployment")
    return [_patched(o, state.patches.get(k, {})) for k, o in made.items() if k in always or k in state.patches]


def _patched(obj: Object, patch: Object) -> Object:
    """An object with a patch of the Gateway's parameters, which changes neither what it is nor what it selects."""
    merged = strategic_merge.merge(obj, patch)
    kept = {name: obj["metadata"][name] for name in ("name", "namespace", "ownerReferences")}
    merged["metadata"] = {**merged["metadata"], **kept}
    if "selector" in obj.get("spec", {}):
        merged["spec"]["selector"] = obj["spec"]["selector"]
    return merged


def _owner(gateway: KubernetesGateway) -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": gateway.metadata.name,
        "uid": gateway.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
