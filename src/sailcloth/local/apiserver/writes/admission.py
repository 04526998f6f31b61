"""Admission: webhooks called over HTTPS for real, and what the server itself adds to new objects."""

from __future__ import annotations

import base64
import copy
import logging
import ssl
import uuid
from collections.abc import Iterator
from typing import Any

import aiohttp
import jsonpatch
import orjson

from ..auth.authentication import User
from ..errors import Refused, bad_request
from ..label_selectors import label_selector
from ..registry import Served
from ..storage import Store

log = logging.getLogger(__name__)

Object = dict[str, Any]
_LIMIT = 4 << 20


class Admission:
    """Calls mutating, then validating webhooks. Services are resolved through their EndpointSlices."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def mutate(
        self,
        served: Served,
        operation: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        dry_run: bool,
        sub: str = "",
    ) -> tuple[Object | None, list[str]]:
        """(the object as mutating webhooks left it: the same one if they changed nothing; warnings). Raises Refused if one denies or, failing closed, cannot be
        asked."""
        warnings: list[str] = []
        again = False
        for turn in range(2):
            for hook in self._hooks("mutating", served, operation, obj, old, sub):
                if turn and not (again and hook.get("reinvocationPolicy") == "IfNeeded"):
                    continue
                answer = await self._ask(hook, served, operation, obj, old, user, dry_run, sub)
                if answer is None:
                    continue
                _verdict(hook, answer, warnings)
                if answer.get("patch") and obj is not None:
                    before, obj = obj, self._patched(hook, obj, answer)
                    again = again or before != obj
        return obj, warnings

    async def validate(
        self,
        served: Served,
        operation: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        dry_run: bool,
        sub: str = "",
    ) -> list[str]:
        """Warnings of validating webhooks. Raises Refused as `mutate` does."""
        warnings: list[str] = []
        for hook in self._hooks("validating", served, operation, obj, old, sub):
            answer = await self._ask(hook, served, operation, obj, old, user, dry_run, sub)
            if answer is not None:
                _verdict(hook, answer, warnings)
        return warnings

    def _hooks(
        self, kind: str, served: Served, operation: str, obj: Object | None, old: Object | None, sub: str
    ) -> Iterator[Object]:
        if served.group == "admissionregistration.k8s.io":
            return  # nothing may lock itself in
        for configuration in self._store.all(f"{kind}webhookconfigurations.admissionregistration.k8s.io"):
            for hook in configuration.get("webhooks") or ():
                if self._concerns(hook, served, operation, obj, old, sub):
                    yield hook

    def _concerns(
        self, hook: Object, served: Served, operation: str, obj: Object | None, old: Object | None, sub: str
    ) -> bool:
        if not any(_rule(r, served, operation, sub) for r in hook.get("rules") or ()):
            return False
        subject = obj or old or {}
        metadata = subject.get("metadata") or {}
        namespace = metadata.get("namespace", "") if served.namespaced else ""
        holder = self._store.get("namespaces", "", namespace) if namespace else None
        if served.kind == "Namespace":
            holder = subject
        labels = ((holder or {}).get("metadata") or {}).get("labels") or {}
        if (namespace or served.kind == "Namespace") and not label_selector(hook.get("namespaceSelector"))(labels):
            return False
        match = label_selector(hook.get("objectSelector"))
        return any(match((o.get("metadata") or {}).get("labels") or {}) for o in (obj, old) if o)

    async def _ask(
        self,
        hook: Object,
        served: Served,
        operation: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        dry_run: bool,
        sub: str,
    ) -> Object | None:
        if dry_run and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise bad_request(f'admission webhook "{hook["name"]}" does not support dry run')
        request: Object = {
            "uid": str(uuid.uuid4()),
            "kind": {"group": served.group, "version": served.version, "kind": served.kind},
            "resource": {"group": served.group, "version": served.version, "resource": served.plural},
            "requestKind": {"group": served.group, "version": served.version, "kind": served.kind},
            "requestResource": {"group": served.group, "version": served.version, "resource": served.plural},
            "name": ((obj or old or {}).get("metadata") or {}).get("name", ""),
            "namespace": ((obj or old or {}).get("metadata") or {}).get("namespace", ""),
            "operation": operation,
            "userInfo": user.info(),
            "object": obj,
            "oldObject": old,
            "dryRun": dry_run,
            "options": {"kind": f"{operation.title()}Options", "apiVersion": "meta.k8s.io/v1"},
        }
        if sub:
            request |= {"subResource": sub, "requestSubResource": sub}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        try:
            return await self._call(hook, body)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError, KeyError) as error:
            text = f'failed calling webhook "{hook["name"]}": {str(error) or type(error).__name__}'
            if hook.get("failurePolicy") == "Ignore":
                log.warning("%s (ignored, as its failurePolicy says)", text)
                return None
            raise Refused(500, "InternalError", f"Internal error occurred: {text}") from None

    async def _call(self, hook: Object, body: Object) -> Object:
        client = hook["clientConfig"]
        ca = base64.b64decode(client.get("caBundle") or "").decode()
        context = self._contexts.get(ca)
        if context is None:
            context = self._contexts[ca] = ssl.create_default_context(cadata=ca or None)
        if self._session is None:
            self._session = aiohttp.ClientSession()
        service = client.get("service")
        if service:
            host, port = self.endpoint(service)
            name = f"{service['name']}.{service['namespace']}.svc"
            url = f"https://{host}:{port}/{service.get('path', '').lstrip('/')}"
        else:
            url, name = client["url"], None
        limit = aiohttp.ClientTimeout(total=float(hook.get("timeoutSeconds") or 10))
        headers = {"Content-Type": "application/json", **({"Host": name} if name else {})}
        async with self._session.post(
            url, data=orjson.dumps(body), ssl=context, server_hostname=name, timeout=limit, headers=headers
        ) as response:
            answer = await response.content.read(_LIMIT)
            if response.status != 200:
                raise ValueError(f"it answered {response.status}: {answer[:200].decode(errors='replace')}")
            found = orjson.loads(answer)["response"]
            if not isinstance(found, dict):
                raise ValueError("its answer is not an AdmissionReview")
            return found

    def endpoint(self, service: Object) -> tuple[str, int]:
        """A ready endpoint of a service's port, which is given by number or name. Raises ValueError."""
        namespace, name, number = service["namespace"], service["name"], service.get("port") or 443
        found = self._store.get("services", namespace, name)
        if found is None:
            raise ValueError(f"service {namespace}/{name} does not exist")
        port = next(
            (p for p in found["spec"].get("ports") or () if str(number) in (str(p["port"]), p.get("name"))), None
        )
        if port is None:
            raise ValueError(f"service {namespace}/{name} has no port {number}")
        for slice_ in self._store.all("endpointslices.discovery.k8s.io", namespace):
            if (slice_["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
                continue
            target = next(
                (p["port"] for p in slice_.get("ports") or () if (p.get("name") or "") == port.get("name", "")), None
            )
            for endpoint in slice_.get("endpoints") or ():
                if target and (endpoint.get("conditions") or {}).get("ready", True) and endpoint.get("addresses"):
                    return endpoint["addresses"][0], int(target)
        raise ValueError(f"service {namespace}/{name} has no ready endpoint")

    @staticmethod
    def _patched(hook: Object, obj: Object, answer: Object) -> Object:
        try:
            patch = orjson.loads(base64.b64decode(answer["patch"]))
            made: Object = jsonpatch.apply_patch(copy.deepcopy(obj), patch)
        except (ValueError, jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise Refused(
                500, "InternalError", f'webhook "{hook["name"]}" sent a patch that does not apply: {error}'
            ) from None
        return made


def _verdict(hook: Object, answer: Object, warnings: list[str]) -> None:
    """Adds to the warnings. Raises Refused, with them, if the answer is no."""
    warnings += answer.get("warnings") or []
    if not answer.get("allowed"):
        status = answer.get("status") or {}
        said = status.get("message") or status.get("reason")
        text = f'admission webhook "{hook["name"]}" denied the request' + (
            f": {said}" if said else " without explanation"
        )
        code, reason = int(status.get("code") or 403), str(status.get("reason") or "Forbidden")
        refused = Refused(code, reason, text, status.get("details"))
        refused.warnings = tuple(warnings)
        raise refused


def _rule(rule: Object, served: Served, operation: str, sub: str) -> bool:
    def has(field: str, value: str) -> bool:
        values = rule.get(field) or ()
        return "*" in values or value in values

    def names(resource: str) -> bool:
        plural, _, below = resource.partition("/")
        return plural in ("*", served.plural) and (below in (sub, "*") if sub else below == "" or resource == "*/*")

    scope = rule.get("scope", "*")
    return (
        has("operations", operation)
        and has("apiGroups", served.group)
        and has("apiVersions", served.version)
        and scope in ("*", "Namespaced" if served.namespaced else "Cluster")
        and any(names(r) for r in rule.get("resources") or ())
    )
