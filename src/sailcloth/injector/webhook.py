"""The mutating webhook: AdmissionReview in, JSON patch out. A pod that cannot be injected is refused with the reason."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from typing import Any

import jsonpatch
import orjson
from aiohttp import web

from sailcloth.mesh import proxy_configs

from .annotations import PROXY_CONFIG, proxy_config
from .config import InjectorConfig
from .inject import InjectionError, inject, is_injected

log = logging.getLogger(__name__)


def review(request: dict[str, Any], config: InjectorConfig) -> dict[str, Any]:
    """The answer to one AdmissionReview request."""
    pod: dict[str, Any] = request.get("object") or {}
    namespace = str(request.get("namespace") or pod.get("metadata", {}).get("namespace") or "default")
    answer: dict[str, Any] = {"uid": request.get("uid", ""), "allowed": True}
    if not is_injected(pod, namespace, config):
        return answer
    try:
        created = inject(pod, config, namespace=namespace, owner=owner_of(pod))
    except InjectionError as error:
        text = f"sidecar injection: {error}"
        return {**answer, "allowed": False, "status": {"code": 400, "reason": "BadRequest", "message": text}}
    given = (pod.get("metadata") or {}).get("annotations") or {}
    if unread := proxy_configs.unread(proxy_config(given)):
        answer["warnings"] = [f"annotation {PROXY_CONFIG}: {', '.join(unread)}: without effect here"]
    patch = jsonpatch.make_patch(pod, created).patch
    return {**answer, "patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(patch)).decode()}


def owner_of(pod: dict[str, Any]) -> tuple[str, str, str] | None:
    """(apiVersion, kind, name) of the workload that makes the pod; a ReplicaSet of a Deployment counts as the Deployment."""
    metadata = pod.get("metadata", {})
    for reference in metadata.get("ownerReferences") or ():
        if not reference.get("controller"):
            continue
        name, kind = str(reference["name"]), str(reference["kind"])
        template_hash = (metadata.get("labels") or {}).get("pod-template-hash", "")
        if kind == "ReplicaSet" and template_hash and name.endswith("-" + template_hash):
            return "apps/v1", "Deployment", name.removesuffix("-" + template_hash)
        return str(reference["apiVersion"]), kind, name
    return None


def handler(
    config: Callable[[str, dict[str, str]], InjectorConfig], answered: Callable[[str, float], None] | None = None
) -> Any:
    """An aiohttp handler for POST /inject; `config` is asked for each pod, by its namespace and labels. `answered` is told the result
    of each (success, skip or failure) and the seconds it took."""

    async def inject_pods(request: web.Request) -> web.Response:
        start = time.monotonic()
        try:
            body = orjson.loads(await request.read())
            asked = body["request"]
            metadata = (asked.get("object") or {}).get("metadata") or {}
            namespace = str(asked.get("namespace") or metadata.get("namespace") or "default")
            answer = review(asked, config(namespace, metadata.get("labels") or {}))
            created = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
            text = orjson.dumps(created)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.info("the injector was sent what is no AdmissionReview of a pod: %s", type(error).__name__)
            return web.Response(status=400, text="the body is not an AdmissionReview of a pod")
        if answered is not None:
            result = "failure" if not answer["allowed"] else "success" if "patch" in answer else "skip"
            answered(result, time.monotonic() - start)
        return web.Response(body=text, content_type="application/json")

    return inject_pods
