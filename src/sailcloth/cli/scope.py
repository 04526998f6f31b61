"""`sailctl x scope`: a Sidecar object that names what workloads were seen to call, and nothing else.

What was called is what their Envoys have counted. They count anew when a cluster changes, so the counts' age is told with them.
It only suggests: nothing is applied.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import dumps, output
from .cluster_options import Kubeconfig, namespace_option

if TYPE_CHECKING:
    import asyncio

    from sailcloth.kube import Client

Object = dict[str, Any]
_USED = re.compile(
    r"^(outbound\|\d+\|[^|]*\|(?P<host>[^:]+)|PassthroughCluster)::\S*::(?:rq|cx)_total::[1-9]", re.MULTILINE
)
_AGES = "/config_dump?resource=dynamic_active_clusters&mask=last_updated"
_PARALLEL = 8


def scope(
    workload: Annotated[str, typer.Argument(help="deployment/NAME; nothing for the whole namespace.")] = "",
    namespace: Annotated[str, namespace_option("Namespace of the workloads.")] = "",
    out: Annotated[str, typer.Option("-o", "--output", help="yaml or json")] = "yaml",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Suggest a Sidecar object from what workloads were seen to call: `sailctl x scope | kubectl apply -f -`."""
    output.check_choice("output", out, "yaml", "json")
    kind, _, name = workload.rpartition("/")
    if workload and kind not in ("deployment", "deploy", "deployments", "deployments.apps"):
        output.fail(f"{workload!r}: name a deployment as deployment/NAME, or nothing for the namespace", output.USAGE)
    created, notes = dumps.run(_suggest(name, namespace, kubeconfig))
    for note in notes:
        output.warn(note)
    output.structured(created, out)


async def _suggest(name: str, namespace: str, kubeconfig: str) -> tuple[Object, list[str]]:
    import asyncio

    from sailcloth.kube import Resource
    from sailcloth.kube.resources import PODS

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        labels: dict[str, str] = {}
        if name:
            deployment = await api.get(Resource("apps", "v1", "deployments", "Deployment"), name, namespace)
            labels = deployment["spec"]["selector"].get("matchLabels") or {}
        pods, _ = await api.list(PODS, namespace, ",".join(f"{k}={v}" for k, v in labels.items()))
        with_sidecar = [p["metadata"]["name"] for p in pods if _has_sidecar(p)]
        if not with_sidecar:
            raise ValueError(f"no pod {f'of deployment/{name} ' if name else ''}in {namespace} has a sidecar")
        turn = asyncio.Semaphore(_PARALLEL)
        pages = await asyncio.gather(*(_pages(api, pod, namespace, turn) for pod in with_sidecar))
    return suggestion(namespace, name, labels, pages, dt.datetime.now(dt.UTC))


def _has_sidecar(pod: Object) -> bool:
    spec = pod["spec"]
    running = (pod.get("status") or {}).get("phase") == "Running"
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return running and any(c["name"] == "istio-proxy" for c in containers)


async def _pages(api: Client, pod: str, namespace: str, turn: asyncio.Semaphore) -> tuple[str, str]:
    """What one Envoy says of its clusters, and since when."""
    from sailcloth.kube.envoy_admin import page

    async with turn:
        return await page(api, pod, namespace, "/clusters"), await page(api, pod, namespace, _AGES)


def suggestion(
    namespace: str, name: str, labels: dict[str, str], pages: list[tuple[str, str]], now: dt.datetime
) -> tuple[Object, list[str]]:
    """The Sidecar object, and what a reader should know of it, from each Envoy's `/clusters` and the ages of those."""
    matches = {m for clusters, _ in pages for m in ((m["host"] or "") for m in _USED.finditer(clusters))}
    hosts = sorted(_pattern(host, namespace) for host in matches if host)
    changed = [c["last_updated"] for _, ages in pages for c in json.loads(ages).get("configs", ())]
    since = max(map(dt.datetime.fromisoformat, changed), default=now)
    notes = [
        f"seen in {len(pages)} {'proxy' if len(pages) == 1 else 'proxies'}; calls of more than "
        f"{int((now - since).total_seconds())} s ago may be missing: Envoy counts anew when a cluster changes"
    ]
    if not hosts:
        notes.append("nothing was called: with this object only istio-system could be")
    if "" in matches:
        notes.append(
            "hosts outside the mesh were called too; a Sidecar does not limit them unless its outboundTrafficPolicy does"
        )
    spec: Object = {"egress": [{"hosts": [*hosts, "istio-system/*"]}]}
    if labels:
        spec = {"workloadSelector": {"labels": labels}, **spec}
    metadata = {"name": name or "default", "namespace": namespace}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata, "spec": spec}, notes


def _pattern(host: str, namespace: str) -> str:
    """A host in a Sidecar's words; that of a service with its namespace, that of a ServiceEntry with any."""
    parts = host.split(".")
    if len(parts) > 2 and parts[2] == "svc":
        return f"{'.' if parts[1] == namespace else parts[1]}/{host}"
    return f"*/{host}"
