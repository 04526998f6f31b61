"""Access of commands to a cluster: applying manifests, Envoy's admin interface, the control plane's debug pages."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import orjson

from sailcloth.kube import ApiError, Client, Resource, envoy_admin, portforward
from sailcloth.kube.client import refusal
from sailcloth.kube.resources import PODS
from sailcloth.lib import http1
from sailcloth.local.state import StateDir

from .go_flags import CONTEXT, ROOT

Object = dict[str, Any]
_MONITORING = 15014  # port of the control plane
_SETTINGS = "sailcloth.io/settings"  # annotation of its pod that an installation makes
_ISTIO_TYPES = {"CDS": "cluster", "LDS": "listener", "EDS": "endpoint", "RDS": "route"}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def client(kubeconfig: str = "", context: str = "") -> Client:
    """A client by precedence: --kubeconfig, $KUBECONFIG, a running local cluster, ~/.kube/config, in-cluster. With a context, the
    one of that name in the kubeconfig, or ~/.kube/config without one."""
    context = context or os.environ.get(CONTEXT, "")
    if kubeconfig or context:
        default = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or os.path.expanduser("~/.kube/config")
        return Client.from_kubeconfig(kubeconfig or default, context or None)
    if not os.environ.get("KUBECONFIG"):
        state = StateDir.default()
        if state.running():
            return Client.from_kubeconfig(str(state.kubeconfig))
    return Client.load()


class Applier:
    """Applies manifests of any kind. Discovery is read once for each group and version."""

    def __init__(self, api: Client) -> None:
        self._api = api
        self._known: dict[str, dict[str, Resource]] = {}

    async def resource(self, obj: Object) -> Resource:
        version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
        for _ in range(50):
            if kind not in self._known.get(version, {}):
                await self._discover(version)
            if kind in self._known.get(version, {}):
                return self._known[version][kind]
            await asyncio.sleep(0.02)  # a new CustomResourceDefinition is not served at once
        raise ApiError(404, "NotFound", f'no matches for kind "{kind}" in version "{version}"')

    async def _discover(self, version: str) -> None:
        group, _, name = version.rpartition("/")
        with contextlib.suppress(ApiError):
            path = f"/apis/{version}" if group else f"/api/{name}"
            data = orjson.loads(await self._api.call("GET", path))
            self._known[version] = {
                r["kind"]: Resource(group, name, r["name"], r["kind"], r["namespaced"])
                for r in data["resources"]
                if "/" not in r["name"]
            }

    async def apply(self, obj: Object, namespace: str = "default") -> None:
        """Server-side apply of one object."""
        resource = await self.resource(obj)
        if resource.namespaced:
            obj = {**obj, "metadata": {**obj["metadata"], "namespace": obj["metadata"].get("namespace") or namespace}}
        await self._api.apply(resource, obj, field_manager="sailctl")


def as_kubectl(obj: Object) -> Object:
    """The object with the annotation last-applied-configuration, so that `kubectl apply` can update it."""
    metadata = obj["metadata"]
    given = metadata.get("annotations") or {}
    noted = {**obj, "metadata": {"namespace": "default", **metadata, "annotations": given}}
    text = orjson.dumps(noted, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
    return {**obj, "metadata": {**metadata, "annotations": {**given, LAST_APPLIED: text}}}


async def admin_request(pod: str, namespace: str, kubeconfig: str, method: str, path: str) -> str:
    """A request to the admin interface of a pod's Envoy. Raises OSError or ApiError."""
    name, _, own = pod.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        name = await pod_name(api, name, namespace)
        return await envoy_admin.page(api, name, namespace, path, method)


async def pod_name(api: Client, name: str, namespace: str) -> str:
    """The name of a pod, or of one pod of `deployment/x`, `deploy/x` or `service/x`."""
    kind, _, rest = name.partition("/")
    if not rest:
        return name
    resources = {
        "deployment": Resource("apps", "v1", "deployments", "Deployment"),
        "deploy": Resource("apps", "v1", "deployments", "Deployment"),
        "service": Resource("", "v1", "services", "Service"),
        "svc": Resource("", "v1", "services", "Service"),
        "pod": Resource("", "v1", "pods", "Pod"),
        "po": Resource("", "v1", "pods", "Pod"),
    }
    if kind not in resources:
        raise ValueError(f"unknown kind {kind!r}; use POD, deployment/NAME or service/NAME")
    if kind in ("pod", "po"):
        return rest
    obj = await api.get(resources[kind], rest, namespace)
    selector = obj["spec"].get("selector") or {}
    labels = selector.get("matchLabels", selector)
    pods, _ = await api.list(resources["pod"], namespace, ",".join(f"{k}={v}" for k, v in labels.items()))
    if not pods:
        raise ValueError(f"{kind}/{rest} in {namespace} has no pods")
    return str(min(pods, key=_idle)["metadata"]["name"])


def _idle(pod: Object) -> tuple[bool, bool]:
    """Sort key: running pods that are not being deleted come first."""
    return bool(pod["metadata"].get("deletionTimestamp")), pod.get("status", {}).get("phase") != "Running"


async def names_of(pod: str, namespace: str, kubeconfig: str) -> Any:
    """The DNS table that the control plane generates for a pod. Raises OSError or ApiError."""
    name, _, own = pod.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        name = await pod_name(api, name, namespace)
    return await debug_of_proxy(kubeconfig, f"/debug/ndsz?proxyID={name}.{namespace}")


async def debug(kubeconfig: str, path: str) -> Any:
    """One of the control plane's debug pages, through the API server."""
    async with client(kubeconfig) as api:
        return orjson.loads(await control_plane(api, path))


async def connected_proxies(kubeconfig: str) -> list[Object]:
    """The proxies of all control planes, which know their own only, in the form of our page `syncz`."""
    async with client(kubeconfig) as api:
        answers = await _of_all(api, "/debug/syncz")
    rows = ((name, row) for name, answer in answers if isinstance(answer, bytes) for row in orjson.loads(answer) or ())
    return [row if "name" in row else _of_istio(name, row) for name, row in rows]


def _of_istio(control_plane: str, row: Object) -> Object:
    """A proxy of Istio's own control plane, which tells the last nonces."""
    sent = {s: (row.get(f"{n}_sent"), row.get(f"{n}_acked")) for s, n in _ISTIO_TYPES.items()}
    return {
        "name": row.get("proxy", ""),
        "cluster": row.get("cluster_id", ""),
        "istiod": control_plane,
        "version": row.get("istio_version", ""),
        "types": {s: "NOT SENT" if not n else "SYNCED" if n == a else "STALE" for s, (n, a) in sent.items()},
        "ages": {},
        "subscribed": [s for s, (n, _) in sent.items() if n],
        "errors": {},
    }


async def debug_of_proxy(kubeconfig: str, path: str) -> Any:
    """A debug page about a proxy, of the control plane that it is connected to."""
    async with client(kubeconfig) as api:
        answers = await _of_all(api, path)
    for _, answer in answers:
        if isinstance(answer, bytes):
            return orjson.loads(answer)
    raise answers[0][1]  # type: ignore[misc]  # all are errors


async def _of_all(api: Client, path: str) -> list[tuple[str, bytes | ApiError]]:
    """What each control plane answers, by the name of its pod. Raises an error that all have, unless it is that they do not know what is asked
    for."""
    pods = await _control_plane_pods(api)
    names = sorted(str(p["metadata"]["name"]) for p in pods if not any(_idle(p)))
    if len(names) < 2:
        return [("", await _of_any(api, pods, path, "GET", None))]

    async def one(name: str) -> bytes | ApiError:
        try:
            return await _from_within(api, name, path, "GET", None)
        except ApiError as error:
            return error

    answers = list(zip(names, await asyncio.gather(*map(one, names)), strict=True))
    if all(isinstance(a, ApiError) and a.status != 404 for _, a in answers):
        raise answers[0][1]  # type: ignore[misc]
    return answers


def root_namespace() -> str:
    """The namespace of the control plane: that of `--istioNamespace`, or istio-system."""
    return os.environ.get(ROOT) or "istio-system"


async def control_plane(api: Client, path: str, method: str = "GET", body: Any = None) -> bytes:
    """A page of the control plane's monitoring port, through the API server. Raises OSError or ApiError.

    A control plane in a pod takes the API server for a stranger, who has to send a token; as istioctl does, it is then asked from within
    its pod, by whoever may forward ports of that."""
    return await _of_any(api, await _control_plane_pods(api), path, method, body)


async def _control_plane_pods(api: Client) -> list[Object]:
    pods, _ = await api.list(PODS, root_namespace(), "app=istiod")
    return pods


async def _of_any(api: Client, pods: list[Object], path: str, method: str, body: Any) -> bytes:
    if all(map(_is_ours, pods)) or not any(map(_is_ours, pods)):
        service = f"/api/v1/namespaces/{root_namespace()}/services/http:istiod:http-monitoring/proxy"
        try:
            return await api.call(method, service + path, body)
        except ApiError as error:
            if error.status != 401 or not pods:
                raise
    chosen = min(pods, key=lambda p: (*_idle(p), not _is_ours(p)))  # Istio's may be beside it
    return await _from_within(api, str(chosen["metadata"]["name"]), path, method, body)


def _is_ours(pod: Object) -> bool:
    return _SETTINGS in (pod["metadata"].get("annotations") or {})


async def _from_within(api: Client, pod: str, path: str, method: str, body: Any) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    headers = [("Content-Type", "application/json")] if data else []
    async with portforward.connect(api, pod, root_namespace(), _MONITORING) as tunnel:
        await tunnel.send(http1.request(method, path, headers=headers, body=data))
        status, answer = http1.parse(b"".join([part async for part in tunnel.receive()]))
    if not 200 <= status < 400:
        raise refusal(status, answer)
    return answer
