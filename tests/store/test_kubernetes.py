"""Objects of an API server as the mesh reads them: nulls, kinds that are not served yet, and what cannot be read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from sailcloth.api.core import EndpointSlice, Service
from sailcloth.api.kinds import CORE_KINDS, MESH_KINDS, OPTIONAL_KINDS, Kind
from sailcloth.api.meta import Finding, Key
from sailcloth.api.virtual_service import VirtualService
from sailcloth.kube import Client
from sailcloth.kube.config import Endpoint
from sailcloth.store.kubernetes import KubernetesSource, decoder

KINDS = {k.name: k for k in (*CORE_KINDS, *MESH_KINDS, *OPTIONAL_KINDS)}


def decoded(kind: str, obj: dict[str, Any]) -> Any:
    return decoder(KINDS[kind])(json.dumps(obj).encode())[1]


def test_null_means_absent_in_every_kind() -> None:
    """A Service that just came, or lost its last pod, has slices with null for endpoints and ports."""
    metadata = {"name": "a", "namespace": "ns", "labels": None, "annotations": None}
    slice_ = decoded("EndpointSlice", {"metadata": metadata, "addressType": "IPv4", "endpoints": None, "ports": None})
    assert isinstance(slice_, EndpointSlice)
    assert slice_.endpoints == ()
    service = decoded("Service", {"metadata": metadata, "spec": {"selector": None, "ports": None, "clusterIPs": None}})
    assert isinstance(service, Service)
    assert service.spec.ports == ()
    rule = decoded("VirtualService", {"metadata": metadata, "spec": {"hosts": ["a"], "http": None, "exportTo": None}})
    assert isinstance(rule, VirtualService)
    assert rule.spec.http == ()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_object_of_nulls_is_an_empty_one(kind: str) -> None:
    fields = KINDS[kind].type.__struct_fields__
    nulls = {name: None for name in fields if name != "metadata"}
    obj = decoded(kind, {"metadata": {"name": "a", "namespace": "ns", "labels": None}, **nulls})
    assert not isinstance(obj, Finding) or "missing required field" in obj.text


def test_what_cannot_be_read_says_where() -> None:
    key, finding = decoder(KINDS["VirtualService"])(
        json.dumps({"metadata": {"name": "a", "namespace": "ns"}, "spec": {"hosts": "a", "http": None}}).encode()
    )
    assert key == Key("VirtualService", "ns", "a")
    assert isinstance(finding, Finding)
    assert finding.path == "spec.hosts"


class Server:
    """Serves some kinds, and definitions that come later."""

    def __init__(self) -> None:
        self.served: dict[str, list[dict[str, Any]]] = {"customresourcedefinitions": []}
        self.requests: dict[str, int] = {}
        self.events: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rsplit("/", 1)[-1]
        self.requests[plural] = self.requests.get(plural, 0) + 1
        if plural not in self.served:
            return web.json_response({"code": 404, "reason": "NotFound", "message": "not served"}, status=404)
        if request.query.get("watch") != "true":
            items = self.served[plural]
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items or None})
        response = web.StreamResponse()
        await response.prepare(request)
        queue = self.events.setdefault(plural, asyncio.Queue())
        while True:
            await response.write(json.dumps(await queue.get()).encode() + b"\n")

    def define(self, kind: Kind) -> None:
        """The kind is served from now on, and its definition says so."""
        self.served[kind.plural] = [
            {"metadata": {"name": "late", "namespace": "ns", "resourceVersion": "2"}, "spec": {}}
        ]
        definition = {
            "metadata": {"name": f"{kind.plural}.{kind.group}", "resourceVersion": "2"},
            "spec": {"group": kind.group, "names": {"plural": kind.plural}},
        }
        queue = self.events.setdefault("customresourcedefinitions", asyncio.Queue())
        queue.put_nowait({"type": "ADDED", "object": definition})


@contextlib.asynccontextmanager
async def serving(handle: Any) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with Client(Endpoint(f"http://127.0.0.1:{port}", None)) as client:
        yield client
    await runner.cleanup()


@contextlib.asynccontextmanager
async def following(server: Server, needed: list[Kind], optional: list[Kind]) -> AsyncIterator[tuple[Any, list[Key]]]:
    seen: list[Key] = []
    async with serving(server.handle) as client:
        source = KubernetesSource(client, needed, optional)
        task = asyncio.create_task(source.run(lambda key, obj: seen.append(key)))
        try:
            yield source, seen
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _until(check: Any, what: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not check():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited 10 s for {what}") from None


async def test_a_kind_that_is_not_served_is_asked_for_when_its_definition_comes_and_seldom_before() -> None:
    server = Server()
    server.served["services"] = []
    route, service = KINDS["HTTPRoute"], KINDS["Service"]
    async with following(server, [service], [route]) as (source, seen):
        await asyncio.wait_for(source.synced(), 5)
        await _until(lambda: server.requests.get("httproutes", 0) >= 3, "a few requests for routes")
        await asyncio.sleep(1.0)
        asked = server.requests["httproutes"]
        assert asked < 10
        server.define(route)
        await _until(lambda: Key("HTTPRoute", "ns", "late") in seen, "the route")
        assert server.requests["httproutes"] <= asked + 4


async def test_a_kind_that_is_needed_is_waited_for_and_the_log_says_for_which_and_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sailcloth.store import kubernetes

    monkeypatch.setattr(kubernetes, "_LOG_WAITING_S", 0.05)
    server = Server()
    rule = KINDS["VirtualService"]
    async with following(server, [rule], []) as (source, seen):
        synced = asyncio.create_task(source.synced())
        await _until(lambda: "waiting for virtualservices: 404 NotFound" in caplog.text, "the line in the log")
        assert not synced.done()
        server.define(rule)
        await asyncio.wait_for(synced, 5)
        assert Key("VirtualService", "ns", "late") in seen


class Cluster:
    """Serves ConfigMaps and Services by namespace, and records what is listed and watched."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], int] = {}  # (plural, namespace, name) to resourceVersion
        self.listed: list[str] = []
        self.watched: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        namespace, plural = _split(request.path)
        if request.query.get("watch") == "true":
            self.watched.append(request.path)
            try:
                response = web.StreamResponse()
                await response.prepare(request)
                await asyncio.Event().wait()
            finally:
                self.watched.remove(request.path)
        self.listed.append(request.path)
        items = [
            {"metadata": {"name": name, "namespace": within, "resourceVersion": str(version)}}
            for (kind, within, name), version in self.objects.items()
            if kind == plural and namespace in ("", within)
        ]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})


def _split(path: str) -> tuple[str, str]:
    """(namespace, plural) of a path."""
    parts = path.split("/")
    return ("", parts[-1]) if "namespaces" not in parts[:-1] else (parts[-2], parts[-1])


async def test_what_is_not_selected_is_not_fetched_and_a_selection_can_change() -> None:
    cluster = Cluster()
    for namespace in ("root", "a", "b"):
        cluster.objects["services", namespace, "web"] = 1
    selected: list[frozenset[str] | None] = [frozenset(("a",))]
    held: dict[Key, object] = {}
    events: list[tuple[Key, bool]] = []

    def change(key: Key, obj: object) -> None:
        events.append((key, obj is not None))
        held.pop(key, None) if obj is None else held.__setitem__(key, obj)

    def services() -> set[str]:
        return {key.namespace for key in held if key.kind == "Service"}

    kinds = [KINDS["Namespace"], KINDS["ConfigMap"], KINDS["Service"]]
    async with serving(cluster.handle) as client:
        source = KubernetesSource(client, kinds, [], "root", lambda: selected[0])
        task = asyncio.create_task(source.run(change))
        try:
            await asyncio.wait_for(source.synced(), 5)
            assert services() == {"root", "a"}
            assert not {"/api/v1/services", "/api/v1/configmaps", "/api/v1/namespaces/b/services"} & {*cluster.listed}

            selected[0] = frozenset(("b",))
            source.reselect()
            await _until(lambda: services() == {"root", "b"}, "the services of b instead of those of a")
            await _until(lambda: "/api/v1/namespaces/a/services" not in cluster.watched, "the end of the watch of a")

            events.clear()
            selected[0] = None
            source.reselect()
            await _until(lambda: services() == {"root", "a", "b"}, "all services")
            assert events == [(Key("Service", "a", "web"), True)], "what was held is not reported again"

            del cluster.objects["services", "b", "web"]  # between two watches
            selected[0] = frozenset(("b",))
            source.reselect()
            await _until(lambda: services() == {"root"}, "that the service is gone")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
