"""`sailctl demo --context X`: a sample application in a cluster that has the mesh already. Its images are the published ones."""

from __future__ import annotations

from typing import Any

import sailcloth_samples
from sailcloth.analysis import manifests
from sailcloth.install import readiness
from sailcloth.kube import Client
from sailcloth.kube.resources import MUTATING_WEBHOOKS, NAMESPACES, SERVICES

from . import cluster_objects, demos
from .cluster import Applier, as_kubectl, client
from .demos import Demo
from .injection import INJECTOR, REVISION

Object = dict[str, Any]
_INJECTION = "istio-injection"


async def install(kubeconfig: str, demo: Demo, load: float, timeout_s: float, report: readiness.Report) -> str:
    """Apply a demo's objects, and wait until its pods are ready. Returns the URL of its page, or how to get one. Raises ValueError without a
    mesh, and NotReady."""
    async with client(kubeconfig) as api:
        if not (await api.list(MUTATING_WEBHOOKS, label_selector=INJECTOR))[0]:
            raise ValueError(
                f"{api.endpoint.server} has no mesh that would inject the demo; `sailctl install --set profile=demo` makes one"
            )
        applier = Applier(api)
        await _namespace(api, demo.namespace)
        objects = [
            as_kubectl(document)
            for name in demo.files
            for document in manifests.documents((sailcloth_samples.ROOT / name).read_text())
        ]
        for obj in objects:
            await applier.apply(obj)
        report(f"{demo.title}: applied ({len(objects)} objects)")
        deadline = readiness.Deadline(timeout_s)
        for obj in objects:
            if obj["kind"] == "Deployment":
                place = obj["metadata"].get("namespace") or "default"
                await readiness.available(api, obj["metadata"]["name"], place, deadline, report)
        if load:
            await applier.apply(demos.load(demo, load))
        return await _url(api, demo.page)


async def _namespace(api: Client, name: str) -> None:
    """The namespace, which is injected, by a revision of the user's choice if it has one."""
    wanted = {"metadata": {"name": name, "labels": {_INJECTION: "enabled"}}}
    space = await cluster_objects.existing(api, NAMESPACES, name)
    if space is None:
        await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", **wanted})
        return
    if not {_INJECTION, REVISION} & (space["metadata"].get("labels") or {}).keys():
        await api.patch(NAMESPACES, name, "", wanted)


async def _url(api: Client, page: str) -> str:
    service = await cluster_objects.existing(api, SERVICES, "istio-ingressgateway", "istio-system")
    if service is None:
        return "none: there is no ingress gateway (`sailctl install --set components.ingressGateways[0].enabled=true`)"
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
    if address := ingress[0].get("ip") or ingress[0].get("hostname"):
        return f"http://{address}{page}"
    forward = "kubectl -n istio-system port-forward service/istio-ingressgateway 8080:80"
    return f"http://localhost:8080{page}, after `{forward}`"
