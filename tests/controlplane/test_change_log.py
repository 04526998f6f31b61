"""The last changes: what they were, which proxies answered, and which still have to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.analysis import change_trace
from sailcloth.api.meta import Key
from sailcloth.controlplane import debug
from sailcloth.controlplane.change_log import ANSWERS, CHANGES, Change, ChangeLog
from sailcloth.controlplane.debug_pages import DebugPages
from sailcloth.testing.world import World
from sailcloth.xds.types import ROUTES

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default, uid: u, generation: %d}
spec: {hosts: [reviews], http: [{timeout: %ds, route: [{destination: {host: reviews%s}}]}]}
"""
SUBSET = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"""


async def page(world: World, query: str = "", namespace: str = "*") -> list[dict[str, Any]]:
    async def scope(_: web.Request) -> str:
        return namespace

    app = web.Application()
    app.add_routes(debug.routes(DebugPages(world.connected, world.updates.changes, "istiod"), scope))
    async with TestClient(TestServer(app)) as client, client.get(f"/debug/changez{query}") as answer:
        body = await answer.read()
        assert answer.status == 200, body
        return list(orjson.loads(body))


def objects(row: dict[str, Any]) -> set[str]:
    return {f"{o['kind']}/{o['name']}@{o['generation']}" for o in row["objects"]}


async def test_a_change_has_its_objects_and_the_answers_of_its_proxies() -> None:
    async with World() as world:
        await world.connect({"id": "one.default", "labels": {"app": "client"}})
        await world.connect({"id": "two.default", "labels": {"app": "client"}})
        await world.apply(SERVICE)
        await world.apply(RULE % (1, 3, ""))
        newest, older = (await page(world))[:2]
        assert objects(newest) == {"VirtualService/reviews@1"}
        assert objects(older) == {"Service/reviews@0"}
        assert newest["number"] == older["number"] + 1
        assert [(a["proxy"], a["type"], a["complete"]) for a in newest["answers"]] == [
            ("one.default", "RDS", True),
            ("two.default", "RDS", True),
        ]
        assert 0 <= newest["computedMs"] <= newest["answers"][0]["ms"]
        assert newest["waiting"] == []
        assert {a["type"] for a in older["answers"]} >= {"CDS", "LDS", "EDS"}


async def test_the_same_object_again_is_no_change() -> None:
    async with World() as world:
        await world.connect()
        await world.apply(SERVICE, RULE % (1, 3, ""))
        before = len(await page(world))
        await world.apply(SERVICE, RULE % (1, 3, ""))
        assert len(await page(world)) == before


async def test_a_proxy_that_does_not_answer_is_waited_for_and_one_that_refuses_is_named() -> None:
    async with World() as world:
        silent = await world.connect({"id": "silent.default", "labels": {"app": "client"}})
        refusing = await world.connect({"id": "refusing.default", "labels": {"app": "other"}})
        await world.apply(SERVICE)
        silent.acknowledges = False
        refusing.reject = lambda type_url, names: "no such thing" if type_url == ROUTES else ""
        await world.apply(RULE % (1, 3, ""))
        (row,) = await page(world, "?kind=VirtualService&namespace=default&name=reviews")
        assert row["waiting"] == ["silent.default"]
        assert [(a["proxy"], a["error"], a["complete"]) for a in row["answers"]] == [
            ("refusing.default", "no such thing", False)
        ]
        assert change_trace.summary(row)[2:] == (
            "0/2",
            f"{row['answers'][0]['ms']:.1f}ms",
            "refusing.default: no such thing",
        )
        silent.acknowledges = True
        await world.settle()
        (row,) = await page(world, "?kind=VirtualService")
        assert row["waiting"] == []
        assert ("silent.default", True) in {(a["proxy"], a["complete"]) for a in row["answers"]}


async def test_what_releases_a_rule_that_was_held_is_the_change() -> None:
    async with World() as world:
        await world.connect()
        await world.apply(SERVICE)
        await world.apply(RULE % (1, 3, ", subset: v1"))
        (held,) = await page(world, "?kind=VirtualService")
        assert (held["answers"], held["waiting"]) == ([], [])
        await world.apply(SUBSET)
        newest = (await page(world))[0]
        assert objects(newest) == {"DestinationRule/reviews@0"}
        assert {a["type"] for a in newest["answers"]} >= {"CDS", "RDS"}


async def test_a_namespace_sees_its_own_proxies_and_objects() -> None:
    async with World() as world:
        await world.connect({"id": "a.default", "namespace": "default"})
        await world.connect({"id": "b.shop", "namespace": "shop"})
        await world.apply(SERVICE)
        (row,) = await page(world, "?kind=Service", namespace="default")
        assert {a["proxy"] for a in row["answers"]} == {"a.default"}
        assert await page(world, "?kind=Service", namespace="shop") == []


async def test_after_and_limit() -> None:
    async with World() as world:
        await world.connect()
        await world.apply(SERVICE)
        for generation in (1, 2, 3):
            await world.apply(RULE % (generation, generation, ""))
        rows = await page(world, "?kind=VirtualService")
        assert [objects(r) for r in rows] == [{f"VirtualService/reviews@{g}"} for g in (3, 2, 1)]
        assert len(await page(world, "?limit=2")) == 2
        assert [r["number"] for r in await page(world, f"?after={rows[1]['number']}")] == [rows[0]["number"]]
        with pytest.raises(AssertionError, match="are numbers"):
            await page(world, "?limit=many")


def test_what_is_kept_is_bounded() -> None:
    log = ChangeLog()
    proxy: Any = None
    for number in range(CHANGES + 10):
        change = Change(float(number), {Key("Service", "default", "x"): 0})
        log.add(change)
        for _ in range(1_000):
            change.answered(proxy, ROUTES, "", 0.0, True)
    kept = list(log)
    assert sum(len(c.answers) for c in kept) <= ANSWERS + 2_000
    assert kept[-1].number == CHANGES + 10
    full = Change(0.0, {Key("Service", "default", "x"): 0})
    for _ in range(10_000):
        full.answered(proxy, ROUTES, "", 0.0, True)
    assert len(full.answers) == 5_000


async def test_a_change_of_labels_alone_is_a_change_with_its_previous_version() -> None:
    """Else an undo would put back an older version, and take away what somebody has noted since."""
    async with World() as world:
        await world.connect()
        await world.apply(SERVICE)
        await world.apply(RULE % (1, 3, ""))
        await world.apply((RULE % (1, 3, "")).replace("uid: u", "uid: u, labels: {team: a}"))
        (labelled, created) = await page(world, "?kind=VirtualService&previous=true")
        assert labelled["objects"][0]["previous"]["metadata"].get("labels", {}) == {}
        assert created["objects"][0]["previous"] is None
