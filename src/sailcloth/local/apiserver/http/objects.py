"""Single objects and their subresources: read, replaced, patched, deleted, scaled, bound, given tokens, reached by proxy."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
from aiohttp import web

from ..auth.service_account_tokens import Tokens
from ..errors import Refused, bad_request, not_found
from ..registry import Served
from ..storage import Store
from ..writes import patches, scale
from ..writes.rest_storage import Objects
from . import bodies
from .responses import SUCCESS, answer, show

Object = dict[str, Any]


class Items:
    """Requests to single objects."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store, self._objects = store, objects
        self.streams: Any = None  # set by the process: logs, exec, port-forward
        self.tokens: Tokens | None = None

    async def serve(
        self, request: web.Request, served: Served, namespace: str, name: str, rest: list[str]
    ) -> web.StreamResponse:
        """Answer a request to an object or, by `rest`, to what is below it. Raises Refused."""
        sub = rest[0] if rest else ""
        if served.kind == "Service" and sub == "proxy":
            return await self._proxy(request, namespace, name, "/".join(rest[1:]))
        known = served.subresource(sub)
        if sub and known is None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        if known is not None and known.process:
            self._live(served, namespace, name)
            return await self.streams.serve(request, namespace, name, sub)  # type: ignore[no-any-return]
        if sub == "token":
            return await self._token(request, namespace, name)
        if sub == "eviction":
            return await self._evict(request, served, namespace, name)
        if sub == "binding":
            return await self._bind(request, served, namespace, name)
        if request.method == "GET":
            obj = self._live(served, namespace, name)
            if sub == "scale":
                return answer(request, scale.shown(served.shown(obj), served.scale))
            return show(request, served, obj)
        if request.method == "DELETE":
            return await self._delete(request, served, namespace, name)
        if request.method not in ("PUT", "PATCH"):
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        if sub == "scale":
            return await self._rescale(request, served, namespace, name)
        return await self._write(request, served, namespace, name, sub)

    def _live(self, served: Served, namespace: str, name: str) -> Object:
        obj = self._store.get(served.gr, namespace, name)
        if obj is None:
            raise not_found(served.gr, name, served.group, served.plural)
        return obj

    async def _write(
        self, request: web.Request, served: Served, namespace: str, name: str, sub: str
    ) -> web.StreamResponse:
        user, manager = request["user"], bodies.manager(request)
        if request.method == "PATCH":
            query, body = bodies.query(request, "PatchOptions"), await bodies.read(request)
            obj, warnings, created = await self._objects.patch(served, namespace, name, sub, body, user, manager, query)
            return show(request, served, obj, 201 if created else 200, warnings)
        query, body = bodies.query(request, "UpdateOptions"), await bodies.read(request)
        new = body.value
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise bad_request("the body is not an object with metadata")
        if sub == "finalize" and not ((new.get("spec") or {}).get("finalizers") or []):
            self._objects.deletion.finish_namespace(name)
        obj, warnings = await self._objects.replace(served, namespace, name, sub, body, user, manager, query)
        return show(request, served, obj, 200, warnings)

    async def _delete(self, request: web.Request, served: Served, namespace: str, name: str) -> web.Response:
        options = bodies.delete_options(dict(request.query.items()), (await bodies.read(request)).value)
        obj, gone = await self._objects.delete(served, namespace, name, options, request["user"])
        if gone and served.kind != "Pod":
            details = {"name": name, "group": served.group, "kind": served.plural, "uid": obj["metadata"]["uid"]}
            return answer(request, {**SUCCESS, "details": details}, warnings=served.warnings)
        return answer(request, served.shown(obj), warnings=served.warnings)

    async def _rescale(self, request: web.Request, served: Served, namespace: str, name: str) -> web.Response:
        patched = request.method == "PATCH"
        query = bodies.query(request, "PatchOptions" if patched else "UpdateOptions")
        body, where = await bodies.read(request), served.scale

        def make(live: Object) -> Object:
            wanted = body.value
            if patched:
                now = scale.shown(live, where)
                if body.kind == "application/json-patch+json":
                    try:
                        wanted = patches.operations(now, wanted)
                    except ValueError as error:
                        raise Refused(422, "Invalid", str(error)) from None
                else:
                    wanted = patches.merge(now, wanted)
            return scale.rescaled(live, wanted, where, patched)

        user, manager = request["user"], bodies.manager(request)
        obj, warnings = await self._objects.change(served, namespace, name, "scale", make, user, manager, query)
        return answer(request, scale.shown(served.shown(obj), where), warnings=warnings)

    async def _evict(self, request: web.Request, served: Served, namespace: str, name: str) -> web.Response:
        query, body = bodies.query(request, "CreateOptions"), (await bodies.read(request)).value
        given = body.get("deleteOptions") if isinstance(body, dict) else None
        options = bodies.delete_options(query, given or {})
        await self._objects.delete(served, namespace, name, options, request["user"])
        return answer(request, SUCCESS, 201)

    async def _bind(self, request: web.Request, served: Served, namespace: str, name: str) -> web.Response:
        query, body = bodies.query(request, "CreateOptions"), (await bodies.read(request)).value
        node = (body.get("target") or {}).get("name", "") if isinstance(body, dict) else ""

        def make(live: Object) -> Object:
            if live["spec"].get("nodeName"):
                text = f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is already assigned to node "{live["spec"]["nodeName"]}"'
                raise Refused(409, "Conflict", text)
            live["spec"]["nodeName"] = node
            return live

        user = request["user"]
        await self._objects.change(served, namespace, name, "binding", make, user, bodies.manager(request), query)
        return answer(request, SUCCESS, 201)

    async def _token(self, request: web.Request, namespace: str, name: str) -> web.Response:
        query = bodies.query(request, "CreateOptions")
        found = self._store.get("serviceaccounts", namespace, name)
        if found is None:
            raise not_found("serviceaccounts", name, "", "serviceaccounts")
        body = (await bodies.read(request)).value
        spec = body.get("spec") or {}
        seconds = int(spec.get("expirationSeconds") or 3600)
        if not 1 <= seconds <= 1 << 32:
            raise bad_request("spec.expirationSeconds: must be between 1 and 4294967296")
        bound = spec.get("boundObjectRef") or {}
        pod = None
        if bound.get("kind") == "Pod":
            live = self._store.get("pods", namespace, bound.get("name", ""))
            if live is None or (bound.get("uid") and live["metadata"]["uid"] != bound["uid"]):
                raise not_found("pods", bound.get("name", ""), "", "pods")
            if (live["spec"].get("serviceAccountName") or "default") != name:
                raise Refused(403, "Forbidden", f"pod {bound['name']} does not run as service account {name}")
            pod = (bound["name"], live["metadata"]["uid"])
        assert self.tokens is not None
        audiences = spec.get("audiences") or []
        token, until = self.tokens.issue(namespace, name, found["metadata"]["uid"], audiences, seconds, pod)
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
        made = {**body, "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        shown = "" if query.get("dryRun") else token
        return answer(request, {**made, "status": {"token": shown, "expirationTimestamp": expiry}}, 201)

    async def _proxy(self, request: web.Request, namespace: str, name: str, path: str) -> web.Response:
        """A request to a service (`[scheme:]name[:port]`), by one of its endpoints."""
        words = name.split(":")
        scheme, service, port = words if len(words) == 3 else ["http", *words, ""][:3]
        where = {"namespace": namespace, "name": service, "port": port}
        try:
            host, number = self._objects.admission.endpoint(where)
            url = f"{scheme or 'http'}://{host}:{number}/{path}"
            async with aiohttp.request(
                request.method, url, params=request.query, data=await request.read()
            ) as response:
                body = await response.read()
                return web.Response(body=body, status=response.status, content_type=response.content_type)
        except (ValueError, aiohttp.ClientError, OSError) as error:
            raise Refused(503, "ServiceUnavailable", f"error trying to reach service: {error}") from None
