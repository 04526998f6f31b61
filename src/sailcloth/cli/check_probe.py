"""The probe of `sailctl check`: a request through two sidecars with mutual TLS, its metric, and its trace, in a namespace made for it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from .check import Result, Target

Object = dict[str, Any]
_READY_S, _TELEMETRY_S, _POLL_S = 60.0, 30.0, 0.3
_SERVER_IMAGE, _CLIENT_IMAGE = "docker.io/mccutchen/go-httpbin:v2.15.0", "docker.io/curlimages/curl:8.11.1"
_DESCRIBE = "kubectl describe pods -n {}; sailctl check --no-probe"


async def probe(target: Target) -> AsyncGenerator[Result, None]:
    """A server and a client in a namespace of their own, which is deleted in the end."""
    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import NAMESPACES, PODS, SERVICES

    name, trace = f"sailcloth-check-{secrets.token_hex(3)}", secrets.token_hex(16)
    labels = {"istio-injection": "enabled"}
    try:
        await target.api.create(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        )
    except ApiError as error:
        yield Result("a namespace for the probe can be made", "warning", str(error), "sailctl check --no-probe")
        return
    try:
        await target.api.create(SERVICES, _service(name))
        for pod in (_server(name), _client(name, trace)):
            await target.api.create(PODS, pod)
        ready = await _until(_READY_S, _state(target, name))
        answered = ready == "answered"
        yield Result(
            "a request through two sidecars is answered",
            "ok" if answered else "failed",
            "" if answered else ready,
            _DESCRIBE.format(name),
        )
        if not answered:
            return
        log = (await target.api.call("GET", f"/api/v1/namespaces/{name}/pods/client/log?container=client")).decode(
            errors="replace"
        )
        yield _mutual_tls(log)
        async for result in _telemetry(target, name, trace):
            yield result
    finally:
        await target.api.delete(NAMESPACES, name)


def _state(target: Target, namespace: str) -> Any:
    """A function that says how far the probe has come: `answered` in the end."""

    async def ask() -> str:
        pods = {
            p["metadata"]["name"]: p
            for p in orjson.loads(await target.api.call("GET", f"/api/v1/namespaces/{namespace}/pods"))["items"]
        }
        client = pods.get("client", {})
        own: Object = next(
            (c for c in client.get("status", {}).get("containerStatuses") or () if c["name"] == "client"), {}
        )
        ended = (own.get("state") or {}).get("terminated")
        if ended is not None:
            return (
                "answered"
                if ended.get("exitCode") == 0
                else f"the request failed: curl ends with {ended.get('exitCode')}"
            )
        waiting = [
            f"{pod}/{c['name']}: {c['state']['waiting'].get('reason', '')}"
            for pod, obj in pods.items()
            for c in (
                *(obj.get("status", {}).get("initContainerStatuses") or ()),
                *(obj.get("status", {}).get("containerStatuses") or ()),
            )
            if "waiting" in (c.get("state") or {})
        ]
        return ", ".join(waiting) or "the client has no answer yet"

    return ask


async def _until(seconds: float, ask: Any) -> str:
    """`answered`, an answer that is final (it begins with `the request`), or the last one after some time."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        state = str(await ask())
        if state == "answered" or state.startswith("the request") or asyncio.get_running_loop().time() > end:
            return state
        await asyncio.sleep(_POLL_S)


def _mutual_tls(log: str) -> Result:
    """Whether the server's proxy has seen the client's identity: it puts it into a header that the server shows."""
    seen = log.lower().partition("x-forwarded-client-cert")[2][:2000]
    mutual = "uri=spiffe://" in seen and "/sa/default" in seen
    fix = "kubectl get peerauthentication,destinationrule -A; sailctl x describe pod"
    return Result(
        "they speak mutual TLS",
        "ok" if mutual else "warning",
        "" if mutual else "the server saw no certificate of the client",
        fix,
    )


async def _telemetry(target: Target, namespace: str, trace: str) -> AsyncGenerator[Result, None]:
    """The metric and the trace of the request. A mesh without its own stores has none of them here."""
    from sailcloth.kube import ApiError

    from . import prometheus

    expression = f'sum(istio_requests_total{{destination_service_namespace="{namespace}"}})'

    async def metric() -> str:
        found = (await prometheus.query({"requests": expression}, "", target.kubeconfig))["requests"]
        return "answered" if found and found[0][1] > 0 else "istio_requests_total has no request of it"

    async def span() -> str:
        path = f"/api/v1/namespaces/istio-system/services/http:tracing:80/proxy/api/traces/{trace}"
        try:
            found = orjson.loads(await target.api.call("GET", path)).get("data")
        except ApiError as error:
            if error.status != 404:
                raise
            found = None
        return "answered" if found else f"there is no trace {trace}"

    for check, ask, fix in (
        ("the request is in the metrics", metric, "sailctl dashboard prometheus; kubectl -n istio-system get pods"),
        (
            "the request is in the traces",
            span,
            "sailctl dashboard jaeger; kubectl -n istio-system get configmap istio -o yaml",
        ),
    ):
        try:
            state = await _until(_TELEMETRY_S, ask)
            yield Result(check, "ok" if state == "answered" else "failed", "" if state == "answered" else state, fix)
        except (prometheus.NoMetrics, ApiError) as error:
            yield Result(check, "warning", str(error), fix)


# -- objects ------------------------------------------------------------------------------------


def _service(namespace: str) -> Object:
    port = {"name": "http", "port": 80, "targetPort": 8080}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server", "namespace": namespace},
        "spec": {"selector": {"app": "server"}, "ports": [port]},
    }


def _server(namespace: str) -> Object:
    container = {"name": "server", "image": _SERVER_IMAGE, "ports": [{"containerPort": 8080}]}
    return _pod("server", namespace, container, "Always")


def _client(namespace: str, trace: str) -> Object:
    headers = {
        "x-b3-traceid": trace,
        "x-b3-spanid": trace[:16],
        "x-b3-sampled": "1",
        "traceparent": f"00-{trace}-{trace[:16]}-01",
    }
    options = " ".join(f"-H '{name}: {value}'" for name, value in headers.items())
    script = f"for i in $(seq 100); do curl -sf -m 5 {options} http://server/headers && exit 0; sleep 0.5; done; exit 1"
    container = {"name": "client", "image": _CLIENT_IMAGE, "command": ["sh", "-c", script]}
    return _pod("client", namespace, container, "Never")


def _pod(name: str, namespace: str, container: Object, restart: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"restartPolicy": restart, "terminationGracePeriodSeconds": 1, "containers": [container]},
    }
