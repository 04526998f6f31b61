"""Requests to single objects and their subresources: status, scale, eviction, binding, token, proxy."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from aiohttp import web

from ..auth.service_account_tokens import BOUND_KINDS, BoundObject, TokenIssuer
from ..errors import StatusError, bad_request, conflict, not_found
from ..request_info import RequestInfo
from ..schemas import request_kinds
from ..storage import Store
from ..unstructured import Unstructured
from ..writes import eviction, patches, scale
from ..writes.rest_storage import RestStorage
from . import backend_proxy, bodies
from .responses import SUCCESS, respond, respond_object


class ObjectRequests:
    """Requests to single objects."""

    def __init__(self, store: Store, storage: RestStorage) -> None:
        self._store, self._storage = store, storage
        self.streams: Any = None  # set by the process: logs, exec, port-forward
        self.tokens: TokenIssuer | None = None

    async def serve(self, request: web.Request, info: RequestInfo) -> web.StreamResponse:
        """Respond to a request to an object or to its subresource. Raises StatusError."""
        resource, method = info.resource, request.method
        if resource.kind in ("Service", "Pod") and info.subresource == "proxy":
            await self._admit_connection(request, info, f"{resource.kind}ProxyOptions")
            return await backend_proxy.serve(request, self._storage, info)
        subresource = resource.subresource(info.subresource)
        if info.subresource and subresource is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        if subresource is not None and subresource.process:
            if method not in (("GET", "POST") if subresource.kind else ("GET",)):
                raise _not_allowed()
            self._storage.live(info)
            if subresource.kind:
                await self._admit_connection(request, info, subresource.kind)
            return await self.streams.serve(request, info.namespace, info.name, subresource.name)  # type: ignore[no-any-return]
        create = {"token": self._token, "eviction": self._evict, "binding": self._bind}.get(info.subresource)
        if create is not None:
            if method != "POST":  # it would be authorized as reading
                raise _not_allowed()
            return await create(request, info)
        if method == "GET":
            obj = self._storage.live(info)
            if info.subresource == "scale":
                return respond(request, scale.to_scale(resource.from_storage(obj), resource.scale))
            return respond_object(request, resource, obj)
        if method == "DELETE" and not info.subresource:
            return await self._delete(request, info)
        if method not in ("PUT", "PATCH"):
            raise _not_allowed()
        if info.subresource == "scale":
            return await self._rescale(request, info)
        return await self._write(request, info)

    async def _write(self, request: web.Request, info: RequestInfo) -> web.StreamResponse:
        if request.method == "PATCH":
            info = replace(info, options=bodies.write_options(request, "PatchOptions"))
            obj, warnings, created = await self._storage.patch(info, await bodies.read_body(request))
            return respond_object(request, info.resource, obj, 201 if created else 200, warnings)
        info = replace(info, options=bodies.write_options(request, "UpdateOptions"))
        body = await bodies.read_body(request)
        new = body.value
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise bad_request("the body is not an object with metadata")
        spec = new.get("spec") or {}
        if info.subresource == "finalize" and isinstance(spec, dict) and not spec.get("finalizers"):
            self._storage.deletion.finalize_namespace(info.name)
        obj, warnings = await self._storage.replace(info, body)
        return respond_object(request, info.resource, obj, 200, warnings)

    async def _delete(self, request: web.Request, info: RequestInfo) -> web.Response:
        resource = info.resource
        options = bodies.delete_options(dict(request.query.items()), (await bodies.read_body(request)).value)
        obj, gone = await self._storage.delete(replace(info, options=options))
        if gone and resource.kind != "Pod":
            details = {
                "name": info.name,
                "group": resource.group,
                "kind": resource.plural,
                "uid": obj["metadata"]["uid"],
            }
            return respond(request, {**SUCCESS, "details": details}, warnings=resource.warnings)
        return respond(request, resource.from_storage(obj), warnings=resource.warnings)

    async def _rescale(self, request: web.Request, info: RequestInfo) -> web.Response:
        patched, resource = request.method == "PATCH", info.resource
        info = replace(info, options=bodies.write_options(request, "PatchOptions" if patched else "UpdateOptions"))
        body, paths = await bodies.read_body(request), resource.scale

        def mutate(live: Unstructured) -> Unstructured:
            wanted = body.value
            if patched:
                current = scale.to_scale(live, paths)
                if body.content_type == "application/json-patch+json":
                    try:
                        wanted = patches.json_patch(current, wanted)
                    except ValueError as error:
                        raise StatusError(422, "Invalid", str(error)) from None
                else:
                    wanted = patches.merge_patch(current, wanted)
            return scale.set_replicas(live, request_kinds.decode("Scale", wanted), paths, patched)

        obj, warnings = await self._storage.update(info, mutate)
        return respond(request, scale.to_scale(resource.from_storage(obj), paths), warnings=warnings)

    async def _evict(self, request: web.Request, info: RequestInfo) -> web.Response:
        query = bodies.write_options(request, "CreateOptions")
        body = request_kinds.decode("Eviction", (await bodies.read_body(request)).value)
        given = body.get("deleteOptions") or {}
        self._storage.live(info)
        await self._admit(
            replace(info, options=query), "CREATE", {"apiVersion": "policy/v1", "kind": "Eviction", **body}
        )
        await eviction.evict(self._storage, replace(info, options=bodies.delete_options(query, given)))
        return respond(request, SUCCESS, 201)

    async def _bind(self, request: web.Request, info: RequestInfo) -> web.Response:
        info, name = replace(info, options=bodies.write_options(request, "CreateOptions")), info.name
        body = request_kinds.decode("Binding", (await bodies.read_body(request)).value)
        node = body.get("target", {}).get("name", "")
        self._storage.live(info)
        await self._admit(info, "CREATE", {"apiVersion": "v1", "kind": "Binding", **body})

        def mutate(live: Unstructured) -> Unstructured:
            if live["spec"].get("nodeName"):
                text = f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is already assigned to node "{live["spec"]["nodeName"]}"'
                raise StatusError(409, "Conflict", text)
            live["spec"]["nodeName"] = node
            return live

        await self._storage.update(info, mutate)
        return respond(request, SUCCESS, 201)

    async def _token(self, request: web.Request, info: RequestInfo) -> web.Response:
        query, namespace, name = bodies.write_options(request, "CreateOptions"), info.namespace, info.name
        account = self._store.get("serviceaccounts", namespace, name)
        if account is None:
            raise not_found("serviceaccounts", name, "", "serviceaccounts")
        body = request_kinds.decode("TokenRequest", (await bodies.read_body(request)).value)
        spec = body.get("spec") or {}
        seconds = int(spec.get("expirationSeconds") or 3600)
        if not 1 <= seconds <= 1 << 32:
            raise bad_request("spec.expirationSeconds: must be between 1 and 4294967296")
        bound = self._bound_object(spec.get("boundObjectRef") or {}, namespace, name)
        token_request = {**body, "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        await self._admit(replace(info, options=query), "CREATE", token_request)
        assert self.tokens is not None
        audiences = spec.get("audiences") or []
        token, until = self.tokens.issue(namespace, name, account["metadata"]["uid"], audiences, seconds, bound)
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
        shown = "" if query.get("dryRun") else token
        return respond(request, {**token_request, "status": {"token": shown, "expirationTimestamp": expiry}}, 201)

    async def _admit(self, info: RequestInfo, operation: str, obj: Unstructured) -> None:
        """Webhooks and policies over a request to a subresource that stores nothing itself. Raises StatusError."""
        metadata = {**(obj.get("metadata") or {}), "name": info.name, "namespace": info.namespace}
        reviewed, _ = await self._storage.admission.mutate(info, operation, {**obj, "metadata": metadata}, None)
        await self._storage.admission.validate(info, operation, reviewed, None)

    async def _admit_connection(self, request: web.Request, info: RequestInfo, kind: str) -> None:
        """For what a client opens to a pod or Service: exec, attach, port-forward, proxy."""
        query = request.query
        options: Unstructured = {k: query[k] == "true" for k in ("stdin", "stdout", "stderr", "tty") if k in query}
        options |= {k: query[k] for k in ("container", "path") if k in query}
        if "command" in query:
            options["command"] = query.getall("command")
        if "ports" in query:
            options["ports"] = [int(p) for p in ",".join(query.getall("ports")).split(",") if p.isdecimal()]
        named = replace(info, name=_backend(info.name)) if info.subresource == "proxy" else info
        await self._admit(named, "CONNECT", {"apiVersion": "v1", "kind": kind, **options})

    def _bound_object(self, reference: Unstructured, namespace: str, account: str) -> BoundObject | None:
        """The object that a TokenRequest wants its token bound to. Raises StatusError for one that cannot be, or is not there."""
        if not reference:
            return None
        kind, name = reference.get("kind", ""), reference.get("name", "")
        if reference.get("apiVersion") != "v1" or kind not in BOUND_KINDS:
            given = f"{reference.get('apiVersion', '')}, Kind={kind}"
            raise bad_request(f'cannot bind token for serviceaccount "{account}" to object {given}')
        plural = f"{kind.lower()}s"
        live = self._store.get(plural, "" if kind == "Node" else namespace, name)
        if live is None:
            raise not_found(plural, name, "", plural)
        uid = live["metadata"]["uid"]
        if reference.get("uid") not in (None, "", uid):
            text = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            raise conflict(plural, name, text)
        if kind == "Pod" and (live["spec"].get("serviceAccountName") or "default") != account:
            text = (
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
            raise bad_request(text)
        return BoundObject(kind, name, uid)


def _backend(name: str) -> str:
    """The name in `[SCHEME:]NAME[:PORT]`."""
    words = name.split(":")
    return words[1] if len(words) == 3 else words[0]


def _not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
