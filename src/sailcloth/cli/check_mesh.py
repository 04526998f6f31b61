"""The checks of `sailctl check` that only look: machine, cluster, control plane, certificates, webhooks, proxies, configuration."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from . import cluster_objects
from .check import Result, Section, Target

Object = dict[str, Any]
_MINIMUM = (1, 28)
_ENDING_DAYS = 30  # before a root certificate ends
_ANSWERS_S = 10  # how long the control plane may take for a page
_MOST = 3  # names in a message
_NEEDED = (
    ("", "namespaces"),
    ("", "services"),
    ("", "configmaps"),
    ("apps", "deployments"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)
"""(group, resource) that an installation creates."""


async def machine(target: Target) -> AsyncGenerator[Result, None]:
    """What a local cluster needs. Of no interest where another cluster is used."""
    from sailcloth.local.doctor import report
    from sailcloth.local.state import StateDir

    server = target.api.endpoint.server
    if not (StateDir.default().running() or "127." in server):
        yield Result("this machine runs no local cluster", detail=f"the cluster is {server}")
        return
    for name, ok, detail in report():
        yield Result(name, "ok" if ok else "failed", detail, "sailctl doctor")


async def kubernetes(target: Target) -> AsyncGenerator[Result, None]:
    """The API server, its version, and (before an installation) the rights of the user."""
    version = orjson.loads(await target.api.call("GET", "/version"))
    yield Result("can reach the API server", detail=target.api.endpoint.server)
    number = int(version["major"]), int(str(version["minor"]).rstrip("+"))
    new = number >= _MINIMUM
    minimum = ".".join(map(str, _MINIMUM))
    yield Result(
        f"is Kubernetes {minimum} or newer", "ok" if new else "failed", version["gitVersion"], "upgrade the cluster"
    )
    for group, resource in () if target.installed else _NEEDED:
        attributes = {"verb": "create", "group": group, "resource": resource}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await target.api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        allowed = bool(answer["status"].get("allowed"))
        fix = f"ask an administrator; kubectl auth can-i create {resource} says why"
        yield Result(f"can create {resource}", "ok" if allowed else "failed", fix=fix)


async def definitions(target: Target) -> AsyncGenerator[Result, None]:
    """The CustomResourceDefinitions of the kinds that the mesh reads."""
    from sailcloth.api.kinds import MESH_KINDS

    listed = await _items(target, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    there = {i["metadata"]["name"]: {v["name"] for v in i["spec"]["versions"] if v.get("served")} for i in listed}
    missing = [f"{k.plural}.{k.group}" for k in MESH_KINDS if k.conditions and f"{k.plural}.{k.group}" not in there]
    yield _all("definitions of the mesh's kinds exist", missing, "sailctl up, or sailctl install")
    versions = [
        f"{k.plural}.{k.group}/{k.versions[0]}"
        for k in MESH_KINDS
        if k.versions[0] not in there.get(f"{k.plural}.{k.group}", {k.versions[0]})
    ]
    yield _all("they serve the versions that the control plane reads", versions, "sailctl upgrade")


async def control_plane(target: Target) -> AsyncGenerator[Result, None]:
    """The control plane answers, and is of this program's version."""
    from sailcloth import __version__
    from sailcloth.kube import ApiError

    from .cluster import connected_proxies, debug

    pods = await _items(target, "/api/v1/namespaces/istio-system/pods?labelSelector=app%3Distiod")
    ready = [p["metadata"]["name"] for p in pods if cluster_objects.is_ready(p)]
    state: Any = "ok" if ready else "failed"
    yield Result(
        "a pod of the control plane is ready",
        state,
        ", ".join(ready),
        "kubectl -n istio-system get pods; sailctl bug-report",
    )
    try:
        async with asyncio.timeout(_ANSWERS_S):
            proxies = await connected_proxies(target.kubeconfig)
    except (ApiError, OSError) as error:
        detail = f"not within {_ANSWERS_S} s" if isinstance(error, TimeoutError) else str(error)
        yield Result("the control plane answers", "failed", detail, "kubectl -n istio-system logs -l app=istiod")
        return
    yield Result("the control plane answers", detail=f"{len(proxies)} proxies are connected")
    page = await debug(target.kubeconfig, "/version?format=json")
    running = str(page.get("sailcloth") or "unknown")
    same = running == __version__
    yield Result(
        "it has the version of this program",
        "ok" if same else "warning",
        f"{running}, here {__version__}",
        "sailctl upgrade",
    )


async def certificates(target: Target) -> AsyncGenerator[Result, None]:
    """The certificate authority, and until when its root is valid."""
    from .cluster import debug

    state = await debug(target.kubeconfig, "/debug/caz")
    yield Result(
        "the certificate authority works", "failed" if state["problem"] else "ok", state["problem"], "sailctl ca status"
    )
    issuer = state.get("issuer") or {}
    ends = dt.datetime.fromisoformat(issuer["notAfter"]) if issuer.get("notAfter") else None
    if ends is not None:
        days = (ends - dt.datetime.now(dt.UTC)).days
        verdict: Any = "failed" if days < 0 else "warning" if days < _ENDING_DAYS else "ok"
        yield Result("its certificate does not end soon", verdict, f"valid for {days} days", "sailctl ca rotate")
    waiting = [str(w) for w in state.get("waitingFor") or ()]
    yield _all("no proxy holds up a new root", waiting, "sailctl ca status", "warning")


async def webhooks(target: Target) -> AsyncGenerator[Result, None]:
    """The injector and the validator are configured, and answer: an object that is wrong is tried, without being stored."""
    from sailcloth.kube import ApiError

    for kind, name, what in (
        ("mutatingwebhookconfigurations", "istio-sidecar-injector", "injector"),
        ("validatingwebhookconfigurations", "istio-validator-istio-system", "validator"),
    ):
        found = await _items(target, f"/apis/admissionregistration.k8s.io/v1/{kind}")
        one = next((i for i in found if i["metadata"]["name"] == name), None)
        trusted = one is not None and all(w["clientConfig"].get("caBundle") for w in one["webhooks"])
        detail = f"{kind}/{name} " + ("" if trusted else "is missing" if one is None else "has no caBundle")
        yield Result(
            f"the {what} is registered",
            "ok" if trusted else "failed",
            detail,
            "restart the control plane, which writes it",
        )
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "sailcloth-check", "namespace": "default"},
        "spec": {
            "hosts": ["a"],
            "http": [{"timeout": "1s", "retries": {"attempts": 1, "perTryTimeout": "-1s"}, "route": []}],
        },
    }
    try:
        await target.api.post("/apis/networking.istio.io/v1/namespaces/default/virtualservices?dryRun=All", rule)
        yield Result(
            "a wrong object is refused", "failed", "it was taken", "kubectl get validatingwebhookconfigurations"
        )
    except ApiError as error:
        refused = error.status in (400, 403, 422)
        yield Result(
            "a wrong object is refused",
            "ok" if refused else "failed",
            "" if refused else str(error),
            "kubectl -n istio-system logs -l app=istiod",
        )


async def proxies(target: Target) -> AsyncGenerator[Result, None]:
    """Every sidecar is connected and has its configuration, and every pod that should has a sidecar."""
    from .cluster import connected_proxies

    rows = await connected_proxies(target.kubeconfig)
    refused = [f"{r['name']} ({next(iter(r['errors'].values()))[:80]})" for r in rows if r["errors"]]
    yield _all("no proxy refuses its configuration", refused, "sailctl proxy-status; kubectl get vs,dr,gw -A")
    stale = [r["name"] for r in rows if "STALE" in r["types"].values()]
    yield _all("all proxies have their configuration", stale, "sailctl proxy-status -v", "warning")
    pods = await _items(target, "/api/v1/pods")
    spaces = {
        n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in await _items(target, "/api/v1/namespaces")
    }
    running = [
        p for p in pods if p.get("status", {}).get("phase") == "Running" and not p["metadata"].get("deletionTimestamp")
    ]
    connected = {r["name"] for r in rows}
    missing = [_name(p) for p in running if _has_proxy(p) and _name(p) not in connected]
    yield _all("the proxies of all pods are connected", missing, "kubectl logs POD -c istio-proxy")
    without = [
        _name(p) for p in running if not _has_proxy(p) and _wanted(p, spaces.get(p["metadata"]["namespace"], {}))
    ]
    yield _all(
        "pods of injected namespaces have a sidecar",
        without,
        "kubectl rollout restart deployment; sailctl x check-inject POD",
        "warning",
    )


async def configuration(target: Target) -> AsyncGenerator[Result, None]:
    """The objects of the mesh are accepted, programmed and pass the analysis."""
    from sailcloth.api.kinds import MESH_KINDS
    from sailcloth.kube import ApiError

    found: dict[str, list[str]] = {"Accepted": [], "Programmed": [], "PassedAnalysis": []}
    count = 0
    for kind in (k for k in MESH_KINDS if k.conditions):
        try:
            items = await _items(target, f"/apis/{kind.group}/{kind.versions[0]}/{kind.plural}")
        except ApiError as error:
            if error.status != 404:
                raise
            continue
        count += len(items)
        for item in items:
            for condition in (item.get("status") or {}).get("conditions") or ():
                if condition["type"] in found and condition["status"] == "False":
                    name = f"{kind.name} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
                    found[condition["type"]].append(f"{name}: {condition['message']}")
    yield Result("the mesh's objects can be read", detail=f"{count} objects")
    yield _all("all of them are accepted", found["Accepted"], "kubectl get KIND NAME -o yaml; sailctl analyze -A")
    yield _all(
        "all of them are programmed",
        found["Programmed"],
        "sailctl proxy-status; sailctl x trace-change KIND/NAME",
        "warning",
    )
    yield _all("all of them pass the analysis", found["PassedAnalysis"], "sailctl analyze -A -v", "warning")


SECTIONS: dict[str, Section] = {
    "definitions": definitions,
    "control-plane": control_plane,
    "certificates": certificates,
    "webhooks": webhooks,
    "proxies": proxies,
    "configuration": configuration,
}


async def _items(target: Target, path: str) -> list[Object]:
    return list(orjson.loads(await target.api.call("GET", path))["items"])


def _all(check: str, wrong: list[str], fix: str, otherwise: Any = "failed") -> Result:
    """A check of many, of which `wrong` are not as they should be."""
    more = f", and {len(wrong) - _MOST} more" if len(wrong) > _MOST else ""
    return Result(check, otherwise if wrong else "ok", ", ".join(wrong[:_MOST]) + more, fix)


def _name(pod: Object) -> str:
    return f"{pod['metadata']['name']}.{pod['metadata']['namespace']}"


def _has_proxy(pod: Object) -> bool:
    return any(
        c["name"] == "istio-proxy" for c in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
    )


def _wanted(pod: Object, namespace: dict[str, str]) -> bool:
    from sailcloth.mesh import injection

    metadata = pod["metadata"]
    if pod["spec"].get("hostNetwork") or metadata["namespace"] in injection.IGNORED_NAMESPACES:
        return False
    given = injection.of_pod(metadata.get("labels") or {}, metadata.get("annotations") or {})
    return given if given is not None else bool(injection.of_namespace(namespace))
