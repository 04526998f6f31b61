"""Admission: mutating webhooks, then validating policies and webhooks. Webhooks are called over HTTPS."""

from __future__ import annotations

import base64
import logging
import ssl
import uuid
from collections.abc import Iterator

import aiohttp
import orjson

from ..errors import StatusError, bad_request
from ..kinds import admissionregistration
from ..label_selectors import label_selector
from ..registry import ApiResource, Registry
from ..request_info import RequestInfo
from ..schemas import request_kinds
from ..storage import Store
from ..unstructured import Unstructured
from . import patches
from .validating_policies import AdmissionAttributes, ValidatingPolicies

log = logging.getLogger(__name__)

_LIMIT = 4 << 20


class Admission:
    """Calls webhooks and enforces policies. Services are resolved through their EndpointSlices."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._policies = ValidatingPolicies(store, registry)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def mutate(
        self, info: RequestInfo, operation: str, obj: Unstructured | None, old: Unstructured | None
    ) -> tuple[Unstructured | None, list[str]]:
        """(the object after mutating webhooks: the same one if they changed nothing, warnings). Raises StatusError if a webhook
        denies the request, or cannot be called and its failurePolicy is Fail."""
        warnings: list[str] = []
        changed = False
        for round_ in range(2):
            for hook in self._hooks("mutating", info, operation, obj, old):
                if round_ and not (changed and hook.get("reinvocationPolicy") == "IfNeeded"):
                    continue
                answer = await self._review(hook, info, operation, obj, old)
                if answer is None:
                    continue
                _check_allowed(hook, answer, warnings)
                if answer.get("patch") and obj is not None:
                    before, obj = obj, self._patched(hook, obj, answer)
                    changed = changed or before != obj
        return obj, warnings

    async def validate(
        self, info: RequestInfo, operation: str, obj: Unstructured | None, old: Unstructured | None
    ) -> list[str]:
        """Warnings of validating policies and webhooks. Raises StatusError as `mutate` does."""
        warnings: list[str] = []
        if info.resource.group != admissionregistration.GROUP and self._policies.exist():
            attributes = AdmissionAttributes(info, _request(info, operation, obj, old), obj, old)
            warnings += self._policies.validate(
                attributes, lambda match: self._selects(match, "resourceRules", info, operation, obj, old)
            )
        for hook in self._hooks("validating", info, operation, obj, old):
            answer = await self._review(hook, info, operation, obj, old)
            if answer is not None:
                _check_allowed(hook, answer, warnings)
        return warnings

    def _hooks(
        self, kind: str, info: RequestInfo, operation: str, obj: Unstructured | None, old: Unstructured | None
    ) -> Iterator[Unstructured]:
        if info.resource.group == admissionregistration.GROUP:
            return  # else a webhook could forbid its own removal
        for configuration in self._store.all(f"{kind}webhookconfigurations.{admissionregistration.GROUP}"):
            for hook in configuration.get("webhooks") or ():
                if self._selects(hook, "rules", info, operation, obj, old):
                    yield hook

    def _selects(
        self,
        match: Unstructured,
        rules: str,
        info: RequestInfo,
        operation: str,
        obj: Unstructured | None,
        old: Unstructured | None,
    ) -> bool:
        """Whether a webhook, or the MatchResources of a policy, selects the request. `rules` is the field with its rules; a
        MatchResources without any, which only a binding may have, selects by labels alone."""
        resource = info.resource
        subject = obj or old or {}
        metadata = subject.get("metadata") or {}

        def applies(rule: Unstructured) -> bool:
            names = rule.get("resourceNames")
            if names and metadata.get("name", "") not in names:
                return False
            return _rule_matches(rule, resource, operation, info.subresource)

        given = match.get(rules) or ()
        if (given or rules == "rules") and not any(map(applies, given)):
            return False
        if any(map(applies, match.get("excludeResourceRules") or ())):
            return False
        namespace = metadata.get("namespace", "") if resource.namespaced else ""
        holder = self._store.get("namespaces", "", namespace) if namespace else None
        if resource.kind == "Namespace":
            holder = subject
        labels = ((holder or {}).get("metadata") or {}).get("labels") or {}
        if (namespace or resource.kind == "Namespace") and not label_selector(match.get("namespaceSelector"))(labels):
            return False
        selects = label_selector(match.get("objectSelector"))
        return any(selects((o.get("metadata") or {}).get("labels") or {}) for o in (obj, old) if o)

    async def _review(
        self, hook: Unstructured, info: RequestInfo, operation: str, obj: Unstructured | None, old: Unstructured | None
    ) -> Unstructured | None:
        """The webhook's response; None if it cannot be called and its failurePolicy is Ignore."""
        if info.dry_run and hook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise bad_request(f'admission webhook "{hook["name"]}" does not support dry run')
        request = {"uid": str(uuid.uuid4()), **_request(info, operation, obj, old), "object": obj, "oldObject": old}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        try:
            return await self._call(hook, body)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError, KeyError) as error:
            text = f'failed calling webhook "{hook["name"]}": {str(error) or type(error).__name__}'
            if hook.get("failurePolicy") == "Ignore":
                log.warning("%s (ignored, as its failurePolicy says)", text)
                return None
            raise StatusError(500, "InternalError", f"Internal error occurred: {text}") from None

    async def _call(self, hook: Unstructured, body: Unstructured) -> Unstructured:
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
            url,
            data=orjson.dumps(body),
            ssl=context,
            server_hostname=name,
            timeout=limit,
            headers=headers,
            allow_redirects=False,
        ) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > _LIMIT:
                    raise ValueError(f"its answer is longer than {_LIMIT} bytes")
            if response.status != 200:
                raise ValueError(f"it answered {response.status}: {answer[:200].decode(errors='replace')}")
            try:
                review: Unstructured = request_kinds.decode("AdmissionReview", orjson.loads(answer))["response"]
            except StatusError as error:
                raise ValueError(f"its answer is not an AdmissionReview: {error}") from None
            return review

    def endpoint(self, service: Unstructured) -> tuple[str, int]:
        """A ready endpoint of a service's port, which is given by number or name. Raises ValueError."""
        namespace, name, number = service["namespace"], service["name"], service.get("port") or 443
        live = self._store.get("services", namespace, name)
        if live is None:
            raise ValueError(f"service {namespace}/{name} does not exist")
        port = next(
            (p for p in live["spec"].get("ports") or () if str(number) in (str(p["port"]), p.get("name"))),
            None,
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
    def _patched(hook: Unstructured, obj: Unstructured, answer: Unstructured) -> Unstructured:
        try:
            patch = orjson.loads(base64.b64decode(answer["patch"]))
            patched: Unstructured = patches.json_patch(obj, patch)
            if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
                raise ValueError("it leaves no object with metadata")
        except ValueError as error:
            raise StatusError(
                500, "InternalError", f'webhook "{hook["name"]}" sent a patch that does not apply: {error}'
            ) from None
        return patched


def _request(info: RequestInfo, operation: str, obj: Unstructured | None, old: Unstructured | None) -> Unstructured:
    """The AdmissionRequest, without the objects."""
    resource, metadata = info.resource, (obj or old or {}).get("metadata") or {}
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    subject = obj or {}
    if subject.get("kind") not in (None, resource.kind):  # of a subresource
        group, _, version = str(subject["apiVersion"]).rpartition("/")
        kind = {"group": group, "version": version, "kind": subject["kind"]}
    plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    if resource.kind == "Namespace":
        namespace = str(metadata.get("name", ""))
    else:
        namespace = str(metadata.get("namespace", "")) if resource.namespaced else ""
    request: Unstructured = {
        "kind": kind,
        "resource": plural,
        "requestKind": kind,
        "requestResource": plural,
        "name": metadata.get("name", ""),
        "namespace": namespace,
        "operation": operation,
        "userInfo": info.user.info(),
        "dryRun": info.dry_run,
        "options": {"kind": f"{operation.title()}Options", "apiVersion": "meta.k8s.io/v1"},
    }
    if info.subresource:
        request |= {"subResource": info.subresource, "requestSubResource": info.subresource}
    return request


def _check_allowed(hook: Unstructured, answer: Unstructured, warnings: list[str]) -> None:
    """Add the response's warnings. Raises StatusError, with all warnings, if the webhook denies the request."""
    warnings += answer.get("warnings") or []
    if not answer.get("allowed"):
        status = answer.get("status") or {}
        said = status.get("message") or status.get("reason")
        text = f'admission webhook "{hook["name"]}" denied the request' + (
            f": {said}" if said else " without explanation"
        )
        code, reason = int(status.get("code") or 403), str(status.get("reason") or "Forbidden")
        refused = StatusError(code, reason, text, status.get("details"))
        refused.warnings = tuple(warnings)
        raise refused


def _rule_matches(rule: Unstructured, resource: ApiResource, operation: str, subresource: str) -> bool:
    def has(field: str, value: str) -> bool:
        values = rule.get(field) or ()
        return "*" in values or value in values

    def names(pattern: str) -> bool:
        plural, _, below = pattern.partition("/")
        if plural not in ("*", resource.plural):
            return False
        return below in (subresource, "*") if subresource else below == "" or pattern == "*/*"

    scope = rule.get("scope", "*")
    return (
        has("operations", operation)
        and has("apiGroups", resource.group)
        and has("apiVersions", resource.version)
        and scope in ("*", "Namespaced" if resource.namespaced else "Cluster")
        and any(names(r) for r in rule.get("resources") or ())
    )
