"""The HTTP face: routing, content types, lists, watches. What happens to objects is `objects`' business."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import yaml
from aiohttp import web

from . import protobuf, selectors, tables
from .access import OPEN_PATHS, Access, User
from .discovery import AGGREGATED, REVIEWS, Discovery
from .errors import Refused, bad_request, expired, not_found
from .objects import Objects
from .rbac import Attributes
from .resources import Registry, Served
from .storage import Gone, StorageError, Store
from .tokens import BadToken
from .watches import Watcher

log = logging.getLogger(__name__)

Object = dict[str, Any]
MAX_BODY = 3 << 20
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
VERSION = "v1.32.0+sailcloth"
_OPENAPI_V2_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# A protobuf `Document`: swagger "2.0", info {title "Sailcloth", version "1"}, no paths.
_EMPTY_OPENAPI_V2 = b"\n\x032.0\x12\x0e\n\tSailcloth\x12\x011B\x00"


def answer(
    obj: Any, status: int = 200, kind: str = "application/json", warnings: list[str] | None = None
) -> web.Response:
    response = web.Response(body=orjson.dumps(obj), status=status)
    response.headers["Content-Type"] = kind
    for warning in warnings or ():
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


class ApiServer:
    """Routes requests."""

    def __init__(self, store: Store, registry: Registry, objects: Objects, access: Access) -> None:
        self.store, self.registry, self.objects, self.access = store, registry, objects, access
        self.discovery = Discovery(registry)
        self.streams: Any = None  # set by the process: logs, exec, port-forward
        self.tokens: Any = None
        self.ready = False
        self._watchers: set[Watcher] = set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._outer], client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._route)
        app.on_shutdown.append(self.end_watches)
        return app

    @web.middleware
    async def _outer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as error:
            return answer(error.body(), error.code, warnings=list(error.warnings))
        except StorageError as error:
            return answer(Refused(500, "InternalError", f"Internal error occurred: {error}").body(), 500)
        except web.HTTPRequestEntityTooLarge:
            text = f"Request entity too large: limit is {MAX_BODY}"
            return answer(Refused(413, "RequestEntityTooLarge", text).body(), 413)
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return answer(
                Refused(500, "InternalError", "Internal error occurred; the server's log says more").body(), 500
            )

    def _user(self, request: web.Request) -> User | None:
        header = request.headers.get("Authorization", "")
        if header[:7].lower() == "bearer ":
            try:
                return self.access.from_token(header[7:].strip())[0]
            except BadToken as error:
                raise Refused(401, "Unauthorized", f"Unauthorized: {error}") from None
        ssl = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        return self.access.from_certificate(ssl.getpeercert() if ssl is not None else None)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in OPEN_PATHS or path.startswith(("/livez/", "/readyz/")):
            return self._open(path)
        user = self._user(request)
        if user is None:
            raise Refused(401, "Unauthorized", "Unauthorized")
        request["user"] = user
        parts = [p for p in path.split("/") if p]
        if not parts:
            return answer({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]})
        if parts[0] == "openapi":
            return self._openapi(parts)
        if parts[0] == "api":
            return await self._api(request, "", parts[1:])
        if parts[0] == "apis":
            return await self._apis(request, parts[1:])
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _open(self, path: str) -> web.Response:
        if path == "/version":
            major = {"major": "1", "minor": "32", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean"}
            more = {
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": f"python{platform.python_version()}",
                "compiler": "cpython",
            }
            return answer({**major, **more, "platform": f"linux/{platform.machine().replace('x86_64', 'amd64')}"})
        if path.startswith("/readyz") and not self.ready:
            return web.Response(status=500, text="not ready")
        return web.Response(text="ok")

    def _openapi(self, parts: list[str]) -> web.Response:
        if parts[1:2] == ["v3"]:
            if len(parts) == 2:
                return answer(self.discovery.openapi_index())
            group, version = ("", parts[3]) if parts[2] == "api" and len(parts) == 4 else ("", "")
            if parts[2] == "apis" and len(parts) == 5:
                group, version = parts[3], parts[4]
            body = self.discovery.openapi(group, version)
            if body is not None:
                return web.Response(body=body, content_type="application/json")
        if parts[1:] == [
            "v2"
        ]:  # kubectl asks for it before it takes a List apart; types it does not find it leaves to us
            return web.Response(body=_EMPTY_OPENAPI_V2, headers={"Content-Type": _OPENAPI_V2_TYPE})
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    async def _apis(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if not parts:
            if self._wants_aggregated(request):
                return answer(self.discovery.aggregated(False), kind=AGGREGATED)
            return answer(self.discovery.group_list())
        if len(parts) == 1:
            found = self.discovery.group(parts[0])
            if found is None:
                raise Refused(404, "NotFound", "the server could not find the requested resource")
            return answer(found)
        return await self._api(request, parts[0], parts[1:])

    @staticmethod
    def _wants_aggregated(request: web.Request) -> bool:
        accept = request.headers.get("Accept", "")
        return "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace("v=v2beta1", "") + ";"

    async def _api(self, request: web.Request, group: str, parts: list[str]) -> web.StreamResponse:
        if not parts:
            if self._wants_aggregated(request):
                return answer(self.discovery.aggregated(True), kind=AGGREGATED)
            return answer({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        version, rest = parts[0], parts[1:]
        if not rest:
            found = self.discovery.resource_list(group, version)
            if found is None:
                raise Refused(404, "NotFound", "the server could not find the requested resource")
            return answer(found)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        plural = rest[0]
        self._authorise(request, group, namespace, rest)
        if any(plural == p for p, _, _ in REVIEWS.get((group, version), ())):
            return await self._review(request, group, version, plural)
        served = self.registry.get(group, version, plural)
        if served is None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        name = rest[1] if len(rest) > 1 else ""
        sub = rest[2] if len(rest) > 2 else ""
        if not name:
            return await self._collection(request, served, namespace)
        if served.kind == "Service" and sub == "proxy":
            return await self._proxy(request, namespace, name, "/".join(rest[3:]))
        if sub in ("log", "exec", "attach", "portforward", "proxy"):
            if self.store.get(served.gr, namespace, name) is None:
                raise not_found(served.gr, name, served.group, served.plural)
            return await self.streams.serve(request, namespace, name, sub)  # type: ignore[no-any-return]
        if sub == "token" and served.kind == "ServiceAccount":
            return await self._token(request, namespace, name)
        if sub == "eviction":
            await self._body(request)
            await self.objects.delete(served, namespace, name, {}, request["user"])
            return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)
        if sub == "binding":
            return await self._bind(request, served, namespace, name)
        return await self._item(request, served, namespace, name, sub)

    def _authorise(self, request: web.Request, group: str, namespace: str, rest: list[str]) -> None:
        """Raises Refused if the caller may not do this to `plural[/name[/subresource]]`."""
        name, sub = (rest[1:2] or [""])[0], (rest[2:3] or [""])[0]
        verb = _VERBS.get(request.method, request.method.lower())
        if not name and request.method == "GET":
            verb = "watch" if request.query.get("watch") in ("true", "1") else "list"
        elif not name and request.method == "DELETE":
            verb = "deletecollection"
        resource = f"{rest[0]}/{sub}" if sub else rest[0]
        self.access.check(request["user"], Attributes(verb, group, resource, namespace, name))

    # -- bodies ---------------------------------------------------------------------------------

    async def _body(self, request: web.Request) -> Any:
        raw = await request.read()
        kind = request.headers.get("Content-Type", "").split(";")[0].strip()
        if not raw:
            return {}
        try:
            if kind == "application/vnd.kubernetes.protobuf":
                return protobuf.decode(raw)
            if "yaml" in kind:
                loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
                return orjson.loads(orjson.dumps(yaml.load(raw, Loader=loader)))
            return orjson.loads(raw)
        except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            if "protobuf" in kind:
                raise Refused(415, "UnsupportedMediaType", str(error)) from None
            raise bad_request(
                f"the body of the request could not be read: {' '.join(str(error).split())[:300]}"
            ) from None

    @staticmethod
    def _query(request: web.Request) -> dict[str, str]:
        return dict(request.query.items())

    @staticmethod
    def _manager(request: web.Request) -> str:
        return request.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0][:128]

    @staticmethod
    def _options(query: dict[str, str], body: Any) -> Object:
        """DeleteOptions from the body and the query. Raises Refused."""
        if not isinstance(body, dict):
            raise bad_request("the body is not a DeleteOptions object")
        options: Object = {**query, **body}
        if options.get("gracePeriodSeconds") in (None, ""):
            options.pop("gracePeriodSeconds", None)
        else:
            options["gracePeriodSeconds"] = _whole(
                {"gracePeriodSeconds": str(options["gracePeriodSeconds"])}, "gracePeriodSeconds"
            )
        policy = options.get("propagationPolicy")
        if policy and policy not in ("Background", "Foreground", "Orphan"):
            raise bad_request(
                f"propagationPolicy: Unsupported value: {policy!r}: supported values: Background, Foreground, Orphan"
            )
        return options

    # -- collections ----------------------------------------------------------------------------

    async def _collection(self, request: web.Request, served: Served, namespace: str) -> web.StreamResponse:
        query, user = self._query(request), request["user"]
        if request.method == "POST":
            body = await self._body(request)
            if not isinstance(body, dict):
                raise bad_request("the body is not an object")
            if served.namespaced and not namespace:
                namespace = str((body.get("metadata") or {}).get("namespace") or "default")
            obj, warnings = await self.objects.create(served, body, namespace, user, self._manager(request), query)
            return self._show(request, served, obj, 201, warnings)
        match = self._matcher(query)
        if request.method == "DELETE":
            options = self._options(query, await self._body(request))
            for obj in self.store.all(served.gr, namespace or None):
                if match(obj):
                    await self.objects.delete(
                        served, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], options, user
                    )
            return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
        if request.method != "GET":
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, served, namespace, match, query)
        return self._list(request, served, namespace, match, query)

    @staticmethod
    def _matcher(query: dict[str, str]) -> Callable[[Object], bool]:
        by_label = selectors.labels(query.get("labelSelector"))
        by_field = selectors.fields(query.get("fieldSelector"))
        return lambda o: by_label(o["metadata"].get("labels") or {}) and by_field(o)

    def _list(
        self,
        request: web.Request,
        served: Served,
        namespace: str,
        match: Callable[[Object], bool],
        query: dict[str, str],
    ) -> web.Response:
        revision = str(self.store.revision)
        objects = [] if query.get("continue") else [o for o in self.store.all(served.gr, namespace or None) if match(o)]
        metadata: Object = {"resourceVersion": revision}
        limit = _whole(query, "limit")
        start = query.get("continue")
        if start:
            try:
                revision, _, after = bytes.fromhex(start).decode().partition(":")
                last = tuple(after.split("/", 1))
                then = self.store.snapshot(served.gr, namespace or None, int(revision))
            except ValueError:
                raise bad_request("continue key is not valid") from None
            except Gone:
                raise expired() from None
            objects = [
                o for o in then if (o["metadata"].get("namespace", ""), o["metadata"]["name"]) > last and match(o)
            ]
            metadata["resourceVersion"] = revision
        if limit and len(objects) > limit:
            tail = objects[limit - 1]["metadata"]
            mark = f"{metadata['resourceVersion']}:{tail.get('namespace', '')}/{tail['name']}"
            metadata["continue"] = mark.encode().hex()
            metadata["remainingItemCount"] = len(objects) - limit
            objects = objects[:limit]
        if self._as_table(request):
            made = tables.table(
                served.columns,
                [served.shown(o) for o in objects],
                revision,
                include=query.get("includeObject", "Metadata"),
            )
            made["metadata"] = metadata
            return answer(made)
        items = [served.shown(o) for o in objects]
        return answer({"kind": f"{served.kind}List", "apiVersion": served.gv, "metadata": metadata, "items": items})

    @staticmethod
    def _as_table(request: web.Request) -> bool:
        return "as=Table" in request.headers.get("Accept", "")

    async def _watch(
        self,
        request: web.Request,
        served: Served,
        namespace: str,
        match: Callable[[Object], bool],
        query: dict[str, str],
    ) -> web.StreamResponse:
        revision = query.get("resourceVersion") or ""
        initial = query.get("sendInitialEvents") == "true" or revision in ("", "0")
        start = self.store.revision if initial else _whole(query, "resourceVersion")
        seconds = _whole(query, "timeoutSeconds") or random.uniform(1800, 3600)
        watcher = Watcher(self.store, served, namespace, match, query, self._as_table(request), start)
        try:
            stop = self.store.watch(served.gr, start, watcher.tell)
        except Gone:
            raise expired(f"too old resource version: {revision} ({self.store.floor})") from None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        self._watchers.add(watcher)
        try:
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):
                await watcher.run(response, initial, seconds)
        finally:
            stop()
            self._watchers.discard(watcher)
        return response

    async def end_watches(self, _: web.Application) -> None:
        """The process is about to end: watches end in order, so that clients resume at once."""
        for watcher in self._watchers:
            watcher.end()

    # -- single objects -------------------------------------------------------------------------

    def _show(
        self, request: web.Request, served: Served, obj: Object, status: int = 200, warnings: list[str] | None = None
    ) -> web.Response:
        obj = served.shown(obj)
        if self._as_table(request):
            include = request.query.get("includeObject", "Metadata")
            return answer(
                tables.table(served.columns, [obj], obj["metadata"].get("resourceVersion", ""), include=include), status
            )
        return answer(obj, status, warnings=warnings)

    async def _item(
        self, request: web.Request, served: Served, namespace: str, name: str, sub: str
    ) -> web.StreamResponse:
        query, user, manager = self._query(request), request["user"], self._manager(request)
        if sub and sub not in served.subresources:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        if request.method == "GET":
            obj = self.store.get(served.gr, namespace, name)
            if obj is None:
                raise not_found(served.gr, name, served.group, served.plural)
            return answer(_scale(obj)) if sub == "scale" else self._show(request, served, obj)
        if request.method == "DELETE":
            options = self._options(query, await self._body(request))
            obj, gone = await self.objects.delete(served, namespace, name, options, user)
            if gone and served.kind != "Pod":
                details = {"name": name, "group": served.group, "kind": served.plural, "uid": obj["metadata"]["uid"]}
                return answer(
                    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
                )
            return answer(served.shown(obj))
        if request.method not in ("PUT", "PATCH"):
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        body = await self._body(request)
        kind = request.headers.get("Content-Type", "").split(";")[0].strip()
        if sub == "scale":
            return await self._rescale(request, served, namespace, name, body, kind, query)
        if request.method == "PATCH":
            obj, warnings, created = await self.objects.patch(
                served, namespace, name, sub, kind, body, user, manager, query
            )
            return self._show(request, served, obj, 201 if created else 200, warnings)
        if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
            raise bad_request("the body is not an object with metadata")
        if sub == "finalize":
            finalizers = (body.get("spec") or {}).get("finalizers") or []
            if not finalizers:
                self.objects.deletion.finish_namespace(name)
        obj, warnings = await self.objects.change(served, namespace, name, sub, lambda _: body, user, manager, query)
        return self._show(request, served, obj, 200, warnings)

    async def _rescale(
        self,
        request: web.Request,
        served: Served,
        namespace: str,
        name: str,
        body: Any,
        kind: str,
        query: dict[str, str],
    ) -> web.Response:
        from . import patches

        def make(live: Object) -> Object:
            wanted = body
            if request.method == "PATCH":
                if kind == "application/json-patch+json":
                    try:
                        wanted = patches.operations(_scale(live), body)
                    except ValueError as error:
                        raise Refused(422, "Invalid", str(error)) from None
                else:
                    wanted = patches.merge(_scale(live), body)
            if not isinstance(wanted, dict) or not isinstance(wanted.get("spec") or {}, dict):
                raise bad_request("the body is not a Scale object")
            replicas = (wanted.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or replicas < 0:
                raise bad_request(f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0")
            live["spec"]["replicas"] = replicas
            if not (wanted.get("metadata") or {}).get("resourceVersion") or request.method == "PATCH":
                live["metadata"].pop("resourceVersion", None)
            else:
                live["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"]
            return live

        manager = self._manager(request)
        obj, _ = await self.objects.change(served, namespace, name, "", make, request["user"], manager, query)
        return answer(_scale(obj))

    async def _bind(self, request: web.Request, served: Served, namespace: str, name: str) -> web.Response:
        node = ((await self._body(request)).get("target") or {}).get("name", "")

        def make(live: Object) -> Object:
            live["spec"]["nodeName"] = node
            return live

        await self.objects.change(served, namespace, name, "", make, request["user"], "scheduler", {})
        return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)

    async def _token(self, request: web.Request, namespace: str, name: str) -> web.Response:
        found = self.store.get("serviceaccounts", namespace, name)
        if found is None:
            raise not_found("serviceaccounts", name, "", "serviceaccounts")
        body = await self._body(request)
        spec = body.get("spec") or {}
        seconds = int(spec.get("expirationSeconds") or 3600)
        if not 1 <= seconds <= 1 << 32:
            raise bad_request("spec.expirationSeconds: must be between 1 and 4294967296")
        bound = spec.get("boundObjectRef") or {}
        pod = None
        if bound.get("kind") == "Pod":
            live = self.store.get("pods", namespace, bound.get("name", ""))
            if live is None or (bound.get("uid") and live["metadata"]["uid"] != bound["uid"]):
                raise not_found("pods", bound.get("name", ""), "", "pods")
            if (live["spec"].get("serviceAccountName") or "default") != name:
                raise Refused(403, "Forbidden", f"pod {bound['name']} does not run as service account {name}")
            pod = (bound["name"], live["metadata"]["uid"])
        audiences = spec.get("audiences") or []
        token, until = self.tokens.issue(namespace, name, found["metadata"]["uid"], audiences, seconds, pod)
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
        made = {**body, "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        return answer({**made, "status": {"token": token, "expirationTimestamp": expiry}}, 201)

    async def _proxy(self, request: web.Request, namespace: str, name: str, path: str) -> web.Response:
        """A request to a service (`[scheme:]name[:port]`), by one of its endpoints."""
        words = name.split(":")
        scheme, service, port = words if len(words) == 3 else ["http", *words, ""][:3]
        where = {"namespace": namespace, "name": service, "port": port}
        try:
            host, number = self.objects.admission.endpoint(where)
            url = f"{scheme or 'http'}://{host}:{number}/{path}"
            async with aiohttp.request(
                request.method, url, params=request.query, data=await request.read()
            ) as response:
                body = await response.read()
                return web.Response(body=body, status=response.status, content_type=response.content_type)
        except (ValueError, aiohttp.ClientError, OSError) as error:
            raise Refused(503, "ServiceUnavailable", f"error trying to reach service: {error}") from None

    async def _review(self, request: web.Request, group: str, version: str, plural: str) -> web.Response:
        kind = next(k for p, k, _ in REVIEWS[group, version] if p == plural)
        body = await self._body(request)
        made = self.access.review(kind, body, request["user"])
        return answer({**made, "kind": kind, "apiVersion": f"{group}/{version}"}, 201)


def _scale(obj: Object) -> Object:
    metadata = obj["metadata"]
    labels = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            k: metadata[k]
            for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if k in metadata
        },
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
        },
    }


def _whole(query: dict[str, str], name: str) -> int:
    """A parameter that is a whole number, 0 if absent. Raises Refused."""
    text = query.get(name) or "0"
    if not text.isascii() or not text.isdigit():
        raise bad_request(f"Invalid value: {text!r}: {name} must be a non-negative whole number")
    return int(text)
