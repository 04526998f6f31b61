"""Routes HTTP requests: authentication, impersonation, authorization, content negotiation. `collections` and `objects` serve them."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from sailcloth.lib.connections import Connections

from .. import field_selectors
from ..auth.authentication import UNAUTHENTICATED_PATHS, Authenticator, User
from ..auth.authorization import PRIVILEGED_GROUPS, Attributes
from ..auth.service_account_tokens import InvalidToken, TokenIssuer
from ..errors import StatusError, TooManyConnections
from ..registry import Registry
from ..request_info import RequestInfo
from ..schemas import request_kinds
from ..storage import StorageError, Store
from ..writes.rest_storage import RestStorage
from . import bodies
from .collections import CollectionRequests
from .discovery import AGGREGATED, REVIEWS, Discovery
from .negotiation import JSON, PROTOBUF, YAML, negotiate
from .objects import ObjectRequests
from .responses import respond

log = logging.getLogger(__name__)

MAX_BODY = 3 << 20
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
VERSION = "v1.32.0+sailcloth"
_OPENAPI_V2_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# A protobuf `Document`: swagger "2.0", info {title "Sailcloth", version "1"}, no paths.
_EMPTY_OPENAPI_V2 = b"\n\x032.0\x12\x0e\n\tSailcloth\x12\x011B\x00"


class ApiServer:
    """Routes requests."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        storage: RestStorage,
        access: Authenticator,
        connections: Connections,
        request_timeout_s: float,
    ) -> None:
        self.store, self.registry, self.access = store, registry, access
        self.discovery = Discovery(registry)
        self._collections, self._objects = CollectionRequests(store, storage), ObjectRequests(store, storage)
        self._connections = connections
        self.ready, self._request_timeout_s = False, request_timeout_s
        self._certified: WeakKeyDictionary[Any, User | None] = WeakKeyDictionary()  # by connection

    def set_pod_endpoints(self, streams: Any, tokens: TokenIssuer) -> None:
        """Set the server of logs, exec and port-forward, and the issuer of service account tokens."""
        self._objects.streams, self._objects.tokens = streams, tokens

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors_as_status], client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._route)
        app.on_shutdown.append(self._collections.end)
        return app

    @web.middleware
    async def _errors_as_status(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except TooManyConnections as error:
            response = respond(request, error.body(), error.code)
            response.headers["Retry-After"] = "1"
            response.force_close()
            return response
        except StatusError as error:
            return respond(request, error.body(), error.code, warnings=list(error.warnings))
        except StorageError as error:
            return respond(request, StatusError(500, "InternalError", f"Internal error occurred: {error}").body(), 500)
        except web.HTTPRequestEntityTooLarge:
            text = f"Request entity too large: limit is {MAX_BODY}"
            return respond(request, StatusError(413, "RequestEntityTooLarge", text).body(), 413)
        except web.HTTPException as error:  # a target that is no path, such as that of CONNECT
            reason = error.reason.replace(" ", "")
            return respond(request, StatusError(error.status, reason, error.reason).body(), error.status)
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return respond(
                request,
                StatusError(500, "InternalError", "Internal error occurred; the server's log says more").body(),
                500,
            )

    def _user(self, request: web.Request) -> User | None:
        header = request.headers.get("Authorization", "")
        if header[:7].lower() == "bearer ":
            try:
                return self.access.authenticate_token(header[7:].strip())[0]
            except InvalidToken as error:
                raise StatusError(401, "Unauthorized", f"Unauthorized: {error}") from None
        if (transport := request.transport) is None:
            return None
        if transport not in self._certified:
            ssl = transport.get_extra_info("ssl_object")
            self._certified[transport] = self.access.authenticate_certificate(
                ssl.getpeercert() if ssl is not None else None
            )
        return self._certified[transport]

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in UNAUTHENTICATED_PATHS or path.startswith(("/livez/", "/readyz/")):
            self._connections.touch(request.transport)
            return self._open(request, path)
        user = self._user(request)
        if user is None:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if not self._connections.authenticate(request.transport, user.name, bool(PRIVILEGED_GROUPS & set(user.groups))):
            raise TooManyConnections(user.name)
        request["request_timeout_s"] = self._request_timeout_s
        request["user"] = self.access.impersonate(
            user, request.headers, request.headers.getall("Impersonate-Group", [])
        )
        parts = [p for p in path.split("/") if p]
        if not parts:
            return respond(
                request, {"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
            )
        if parts[0] == "openapi":
            return self._openapi(request, parts)
        if parts[0] == "api":
            return await self._api(request, "", parts[1:])
        if parts[0] == "apis":
            return await self._apis(request, parts[1:])
        raise StatusError(404, "NotFound", "the server could not find the requested resource")

    def _open(self, request: web.Request, path: str) -> web.Response:
        if path == "/version":
            major = {"major": "1", "minor": "32", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean"}
            more = {
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": f"python{platform.python_version()}",
                "compiler": "cpython",
            }
            return respond(
                request, {**major, **more, "platform": f"linux/{platform.machine().replace('x86_64', 'amd64')}"}
            )
        if path.startswith("/readyz") and not self.ready:
            return web.Response(status=500, text="not ready")
        return web.Response(text="ok")

    def _openapi(self, request: web.Request, parts: list[str]) -> web.Response:
        if parts[1:2] == ["v3"]:
            if len(parts) == 2:
                return respond(request, self.discovery.openapi_index())
            group, version = ("", parts[3]) if parts[2] == "api" and len(parts) == 4 else ("", "")
            if parts[2] == "apis" and len(parts) == 5:
                group, version = parts[3], parts[4]
            body = self.discovery.openapi(group, version)
            if body is not None:
                return web.Response(body=body, content_type="application/json")
        # kubectl asks for it before it takes a List apart; types it does not find it leaves to us
        if parts[1:] == ["v2"]:
            return web.Response(body=_EMPTY_OPENAPI_V2, headers={"Content-Type": _OPENAPI_V2_TYPE})
        raise StatusError(404, "NotFound", "the server could not find the requested resource")

    async def _apis(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if not parts:
            if self._wants_aggregated(request):
                return respond(request, self.discovery.aggregated(False), kind=AGGREGATED)
            return respond(request, self.discovery.group_list())
        if len(parts) == 1:
            group = self.discovery.group(parts[0])
            if group is None:
                raise StatusError(404, "NotFound", "the server could not find the requested resource")
            return respond(request, group)
        return await self._api(request, parts[0], parts[1:])

    @staticmethod
    def _wants_aggregated(request: web.Request) -> bool:
        accept = request.headers.get("Accept", "")
        return "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace("v=v2beta1", "") + ";"

    async def _api(self, request: web.Request, group: str, parts: list[str]) -> web.StreamResponse:
        if not parts:
            if self._wants_aggregated(request):
                return respond(request, self.discovery.aggregated(True), kind=AGGREGATED)
            return respond(request, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        version, rest = parts[0], parts[1:]
        if not rest:
            resource_list = self.discovery.resource_list(group, version)
            if resource_list is None:
                raise StatusError(404, "NotFound", "the server could not find the requested resource")
            return respond(request, resource_list)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        plural = rest[0]
        self._authorise(request, group, namespace, rest)
        name, subresource = (rest[1:2] or [""])[0], (rest[2:3] or [""])[0]
        for reviewed, kind, namespaced in REVIEWS.get((group, version), ()):
            if plural == reviewed:
                _check_scope(namespaced, namespace)
                return await self._review(request, f"{group}/{version}", kind, namespace)
        resource = self.registry.get(group, version, plural)
        if resource is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        _check_scope(resource.namespaced, namespace, required=bool(name))
        manager = bodies.field_manager(request)
        info = RequestInfo(resource, request["user"], namespace, name, subresource, manager)
        known = resource.subresource(subresource)
        if (known is not None and known.process) or subresource == "proxy":  # what a process writes is no object
            return await self._objects.serve(request, info)
        watched = not name and dict(request.query.items()).get("watch") in ("true", "1")
        self._negotiate(request, *([JSON] if watched else [JSON, YAML]), *(() if resource.custom else (PROTOBUF,)))
        if not name:
            return await self._collections.serve(request, info)
        return await self._objects.serve(request, info)

    def _authorise(self, request: web.Request, group: str, namespace: str, rest: list[str]) -> None:
        """Raises StatusError if the caller may not do this to `plural[/name[/subresource]]`."""
        name, sub = (rest[1:2] or [""])[0], (rest[2:3] or [""])[0]
        verb, query = _VERBS.get(request.method, request.method.lower()), dict(request.query.items())
        if (group, rest[0]) == ("", "namespaces"):
            namespace = name  # what holds in a namespace holds for the namespace itself
        if not name and request.method == "GET":
            verb = "watch" if query.get("watch") in ("true", "1") else "list"
        elif not name and request.method == "DELETE":
            verb = "deletecollection"
        if verb in ("list", "watch", "deletecollection"):
            name = field_selectors.selected_name(query.get("fieldSelector"))
        resource = f"{rest[0]}/{sub}" if sub else rest[0]
        self.access.check(request["user"], Attributes(verb, group, resource, namespace, name))

    @staticmethod
    def _negotiate(request: web.Request, *offers: str) -> None:
        """Settle the form of the answer before anything is done. Raises StatusError."""
        request["media"] = negotiate(",".join(request.headers.getall("Accept", [])), offers)

    async def _review(self, request: web.Request, api_version: str, kind: str, namespace: str) -> web.Response:
        if request.method != "POST":
            text = "the server does not allow this method on the requested resource"
            raise StatusError(405, "MethodNotAllowed", text)
        self._negotiate(request, JSON, YAML, PROTOBUF)
        bodies.write_options(request, "CreateOptions")
        body = request_kinds.decode(kind, (await bodies.read_body(request)).value)
        review = self.access.review(kind, body, request["user"], namespace)
        return respond(request, {**review, "kind": kind, "apiVersion": api_version}, 201)


def _check_scope(namespaced: bool, namespace: str, *, required: bool = True) -> None:
    """Raises StatusError for a path with a namespace that its resource is not in, which would be authorized as if it were, or
    without the one that it is in. A collection may be of all namespaces (not `required`)."""
    if bool(namespace) != namespaced and (namespace or required):
        raise StatusError(404, "NotFound", "the server could not find the requested resource")
