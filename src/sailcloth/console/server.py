"""The console over HTTP: its API, the events of the graph, login, and the page's files.

Everything but login and the page itself needs a user: by session cookie, or by bearer token. Answers hold only namespaces that the user
may read. Must not assemble answers (`assemble`), or read sources itself (`sources`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from sailcloth.analysis.forms.object_forms import BadValue
from sailcloth.analysis.traffic_graph import Graph as TrafficGraph
from sailcloth.kube import ApiError, Client

from . import assemble, explained, findings, mesh, openapi, openid, schema
from .access import Access, Question, Refused, User
from .answers import HEADERS, USER, BadQuery, Forbidden, Missing, answer, event, flag, problem, seconds
from .assemble import Scope, Snapshot
from .config_pages import ConfigPages, refusal
from .detail_pages import DetailPages
from .edit import BadChange
from .envoy_admin import EnvoyPages
from .findings import Findings, Found
from .inventory import Inventory, inventory
from .links import Links
from .logs import LogPages
from .openid import OpenId
from .proxy_config import ProxyPages
from .sources import LISTED, AccessLogs, Cluster, ControlPlane, Metrics, Tracing, Unavailable
from .traces import TracePages

COOKIE, _LOGIN_COOKIE = "sailcloth-console", "sailcloth-login"
_OPEN = ("/api/login", "/api/openid/", "/api/openapi.json")  # for those who are not logged in
_EVENTS_S = 5.0  # between looks for changes of the graph
_STREAMS = 200
_GRAPHS = 32
_MAX_AGE_S = 31_536_000
_LONGEST_S = 30 * 86_400
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Console:
    """The web application. page: the folder of the page's files; without one the API is all there is. act_as: a client for a user's
    token; without it nothing can be changed. login: by OpenID Connect, too."""

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        tracing: Tracing,
        control_plane: ControlPlane,
        access: Access,
        page: Path | None = None,
        act_as: Callable[[str], Client] | None = None,
        login: OpenId | None = None,
        logs: AccessLogs | None = None,
        links: Links | None = None,
    ) -> None:
        self._cluster, self._metrics, self._control_plane, self._access = cluster, metrics, control_plane, access
        self._page, self._openid, self._tracing, self._act_as = page, login, tracing, act_as
        self._config_pages = ConfigPages(
            access,
            control_plane,
            self._current_inventory,
            self._scope,
            lambda request: request[USER],
            act_as,
            cluster,
            logs,
            self._findings,
        )
        self._links = links or Links()
        self._analysis = Findings(LISTED)
        self._inventory: tuple[object, Inventory] = (None, Inventory())
        self._graphs: deque[tuple[tuple[Any, ...], schema.Graph]] = deque(maxlen=_GRAPHS)  # pages share them
        self._streams = 0

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 20, middlewares=[self._guard])
        get = app.router.add_get
        get("/healthz", _healthy)
        app.router.add_post("/api/login", self._login)
        get("/api/login/methods", self._methods)
        if self._openid is not None:
            get("/api/openid/login", self._openid_login)
            get(openid.CALLBACK, self._openid_callback)
        app.router.add_post("/api/logout", self._logout)
        get("/api/openapi.json", _openapi)
        get("/api/session", self._session)
        get("/api/graph", self._graph)
        get("/api/graph/events", self._events)
        get("/api/overview", self._overview)
        get("/api/namespaces", self._namespaces)
        get("/api/apps", self._items("app"))
        get("/api/workloads", self._items("workload"))
        get("/api/services", self._items("service"))
        get("/api/config", self._config)
        get("/api/mesh", self._mesh)
        self._config_pages.routes(app)
        details = DetailPages(
            self._cluster, self._metrics, self._control_plane, self._access, self._snapshot, self._findings
        )
        logs = LogPages(self._cluster, self._access, self._snapshot, self._user)
        traces = TracePages(self._tracing, self._access, self._snapshot)
        proxies = ProxyPages(self._control_plane, self._access, self._snapshot)
        envoys = EnvoyPages(self._control_plane, self._access, proxies.proxy, self._act_as)
        for pages in (details, logs, traces, proxies, envoys, self._links):
            app.add_routes(pages.routes())

        async def explain(request: web.Request) -> web.Response:
            return answer(await explained.explain(request, details.described, await self._scope(request)))

        app.router.add_post("/api/explain", explain)
        get("/{path:.*}", self._file)
        return app

    # -- requests -------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path.startswith("/api/") and not request.path.startswith(_OPEN):
                request[USER] = await self._user(request)
            response = await handler(request)
        except Refused as error:
            response = problem(
                401, str(error), "Open the URL of `sailctl dashboard`, or log in with a Kubernetes token."
            )
        except (BadQuery, BadChange, BadValue) as error:
            response = problem(400, str(error))
        except Missing as error:
            response = problem(404, str(error), error.fix)
        except Forbidden as error:
            response = problem(403, str(error), error.fix)
        except Unavailable as error:
            response = problem(
                503,
                str(error),
                "Is telemetry on? `sailctl up` without --no-telemetry, or `sailctl install --set components.telemetry.enabled=true`.",
            )
        except ApiError as error:
            response = problem(*refusal(error))
        except OSError as error:
            response = problem(503, f"the API server does not answer: {error}")
        except web.HTTPException as error:
            response = error if error.status < 400 else problem(error.status, error.reason)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _user(self, request: web.Request) -> User:
        """Raises Refused, ApiError, OSError."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return await self._access.of_token(token.strip())
        user = self._access.of_session(request.cookies.get(COOKIE, ""))
        if user is None:
            raise Refused("nobody is logged in, or the session has ended")
        if request.method != "GET" and not _same_origin(request):
            raise Refused("the request comes from a page of another site")
        return user

    async def _login(self, request: web.Request) -> web.Response:
        if not _same_origin(request):
            raise Refused("the request comes from a page of another site")
        try:
            token = str((await request.json())["token"])
        except (ValueError, KeyError, TypeError):
            raise BadQuery('give {"token": "…"}') from None
        session, user = await self._access.login(token)
        response = answer(self._who(user))
        self._set_cookie(response, request, session)
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        self._access.logout(request.cookies.get(COOKIE, ""))
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/")
        return response

    async def _methods(self, request: web.Request) -> web.Response:
        return answer(schema.LoginMethods(openid=self._openid is not None))

    async def _openid_login(self, request: web.Request) -> web.Response:
        assert self._openid is not None
        url, state = await self._openid.start()
        response = web.Response(status=302, headers={"Location": url})
        # Lax, for the issuer sends the browser back here.
        response.set_cookie(
            _LOGIN_COOKIE,
            state,
            path=openid.CALLBACK,
            httponly=True,
            samesite="Lax",
            secure=request.secure,
            max_age=600,
        )
        return response

    async def _openid_callback(self, request: web.Request) -> web.Response:
        assert self._openid is not None
        token = await self._openid.finish(request.query, request.cookies.get(_LOGIN_COOKIE, ""))
        session, _ = await self._access.login(token)
        response = web.Response(status=303, headers={"Location": "/"})
        response.del_cookie(_LOGIN_COOKIE, path=openid.CALLBACK)
        self._set_cookie(response, request, session)
        return response

    @staticmethod
    def _set_cookie(response: web.StreamResponse, request: web.Request, session: str) -> None:
        response.set_cookie(
            COOKIE, session, path="/", httponly=True, samesite="Strict", secure=request.secure, max_age=None
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """A file of the page; the page itself for its own routes. A token in the URL logs in, and is taken out of the URL."""
        if token := request.query.get("token"):
            session, _ = await self._access.login(token)
            response: web.StreamResponse = web.Response(
                status=303, headers={"Location": f"/{request.raw_path.partition('?')[0].lstrip('/')}"}
            )
            self._set_cookie(response, request, session)
            return response
        name = request.match_info["path"]
        if self._page is None or name.startswith("api/"):
            raise web.HTTPNotFound
        path = (self._page / name).resolve()
        if not path.is_relative_to(self._page.resolve()):
            raise web.HTTPNotFound
        if not path.is_file():
            if "." in name.rpartition("/")[2]:
                raise web.HTTPNotFound
            path = self._page / "index.html"
        immutable = name.startswith("assets/")
        caching = f"public, max-age={_MAX_AGE_S}, immutable" if immutable else "no-cache"
        return web.FileResponse(path, headers={"Cache-Control": caching})

    # -- answers --------------------------------------------------------------------------------

    async def _session(self, request: web.Request) -> web.Response:
        return answer(self._who(request[USER]))

    def _who(self, user: User) -> schema.Session:
        return schema.Session(
            user=user.name,
            read_only=self._config_pages.view_only,
            version=packages.version("sailcloth"),
            cluster="Kubernetes",
        )

    async def _graph(self, request: web.Request) -> web.Response:
        return answer(await self._current_graph(request, 0))

    async def _current_graph(self, request: web.Request, number: int) -> schema.Graph:
        kind = request.query.get("type", "versionedApp")
        if kind not in ("versionedApp", "app", "workload", "service"):
            raise BadQuery(f"type: unknown graph type {kind!r}; use versionedApp, app, workload or service")
        services, idle = flag(request, "services", True), flag(request, "idle", False)
        snapshot, scope = await self._snapshot(request)
        if idle:
            with contextlib.suppress(Unavailable):  # which the snapshot's notes say already
                snapshot = replace(snapshot, known=await self._metrics.known(_moment(request)))
        key = (snapshot.inventory, snapshot.traffic, snapshot.known, snapshot.notes, scope, kind, services, idle)
        graph = next((graph for known, graph in self._graphs if _is_same(known, key)), None)
        if graph is None:
            graph = assemble.graph(snapshot, scope, kind, services, idle, number)  # type: ignore[arg-type]
            self._graphs.append((key, graph))
        return msgspec.structs.replace(graph, number=number)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """The graph, then its changes, until the client goes."""
        if self._streams >= _STREAMS:
            return problem(503, f"{_STREAMS} pages are open already", "Close one, or use /api/graph.")
        current = await self._current_graph(request, 1)
        response = web.StreamResponse(
            headers={**HEADERS, "Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self._streams += 1
        try:
            await response.write(event("graph", current))
            while True:
                await asyncio.sleep(_EVENTS_S)
                await self._user(request)  # the session may have ended
                latest = await self._current_graph(request, current.number + 1)
                await response.write(event("delta", assemble.delta(current, latest)))
                current = latest
        except (Refused, ConnectionError):
            return response
        finally:
            self._streams -= 1

    async def _overview(self, request: web.Request) -> web.Response:
        snapshot, scope = await self._snapshot(request)
        sync = self._control_plane.sync
        plane = schema.ControlPlane(
            version=sync.version,
            proxies=len(sync.proxies),
            stale=sorted(name for name in sync.stale if name.rpartition(".")[2] in scope.readable),
            push_ms=mesh.push_ms(sync),
        )
        return answer(assemble.overview(snapshot, scope, plane, mesh.certificates(sync), await self._findings(scope)))

    async def _namespaces(self, request: web.Request) -> web.Response:
        return answer(assemble.namespaces(*await self._snapshot(request)))

    def _items(self, kind: schema.GraphType) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            snapshot, scope = await self._snapshot(request)
            return answer(assemble.items(snapshot, scope, kind))

        return handler

    async def _config(self, request: web.Request) -> web.Response:
        scope = await self._scope(request)
        return answer(assemble.config(self._current_inventory(), scope, await self._findings(scope)))

    async def _findings(self, scope: Scope) -> Found:
        """What the analysis finds in the cluster's objects, without what a user may not see."""
        cluster = self._cluster
        lists = cluster.lists()
        found = await self._analysis.of(cluster.version, lists, cluster.config(), cluster.recent_options)
        names = {obj["metadata"]["name"] for obj in lists.get("namespaces", ())}
        return findings.visible(found, names - scope.readable)

    async def _mesh(self, request: web.Request) -> web.Response:
        scope, user = await self._scope(request), request[USER]
        problems = list(self._cluster.problems)
        try:
            await self._metrics.graph("1m")
        except Unavailable as error:
            problems.append(str(error))
        options = ""
        if await self._access.may(user, Question("get", "configmaps", namespace="istio-system", name="istio")):
            try:
                options = await self._cluster.options()
            except ApiError as error:
                options = f"# {error}\n"
        return answer(mesh.mesh(self._control_plane.sync, self._current_inventory(), scope, problems, options))

    async def _snapshot(self, request: web.Request) -> tuple[Snapshot, Scope]:
        """What the request asks for. Without metrics the traffic is empty, and a note says why."""
        window, moment = request.query.get("window", "5m"), _moment(request)
        if not 1 <= seconds(window) <= _LONGEST_S:
            raise BadQuery(f"window: {window!r} is not a time of at most 30 days such as 30s, 5m or 1h")
        scope = await self._scope(request)
        notes = list(self._cluster.problems)
        try:
            traffic = await self._metrics.graph(window, moment)
        except Unavailable as error:
            traffic = TrafficGraph()
            notes.append(str(error))
        now = moment if moment is not None else time.time()
        return Snapshot(self._current_inventory(), traffic, window, now, tuple(notes)), scope

    async def _scope(self, request: web.Request) -> Scope:
        names = [obj["metadata"]["name"] for obj in self._cluster.lists().get("namespaces", ())]
        readable = frozenset(await self._access.readable(request[USER], names))
        asked = frozenset(n for n in request.query.get("namespaces", "").split(",") if n)
        return Scope(asked & readable if asked else readable, readable)

    def _current_inventory(self) -> Inventory:
        key = (self._cluster.version, self._control_plane.sync)
        if self._inventory[0] != key:
            self._inventory = (
                key,
                inventory(self._cluster.lists(), self._cluster.config(), self._control_plane.sync.stale),
            )
        return self._inventory[1]


def _is_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two keys have the same inventory and traffic, now and known, and equal parameters."""
    return all(a is b for a, b in zip(one[:3], other[:3], strict=True)) and one[3:] == other[3:]


def _moment(request: web.Request) -> float | None:
    """The moment that a request looks at; None for now. Raises BadQuery."""
    at = request.query.get("at")
    try:
        moment = float(at) if at is not None else None
    except ValueError:
        moment = math.nan
    if moment is not None and not 0 <= moment <= time.time() + _LONGEST_S:
        raise BadQuery("at: give seconds since the epoch")
    return moment


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _openapi(_: web.Request) -> web.Response:
    return answer(openapi.openapi())


def _same_origin(request: web.Request) -> bool:
    """Whether a browser sent the request from a page of this server; clients that are no browsers do not say."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host
