"""Which pods are scraped, and what a scrape, a failure and a pod's end leave in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sailcloth.telemetry.exposition import Metadata
from sailcloth.telemetry.metrics.store import Store
from sailcloth.telemetry.process import get
from sailcloth.telemetry.promql import evaluate, parsing, results
from sailcloth.telemetry.scraper import Scraper
from sailcloth.telemetry.targets import Pod, ScrapeTarget, label_name, target


def pod(name: str = "reviews-v1-abc", ip: str | None = "10.0.0.7", phase: str = "Running", **metadata: Any) -> Pod:
    spec = {"nodeName": "local", "containers": [{"name": "app", "ports": [{"containerPort": 9080}]}]}
    body = {
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": spec,
        "status": {"podIP": ip, "phase": phase},
    }
    return msgspec.json.decode(msgspec.json.encode(body), type=Pod)


INJECTED = {"prometheus.io/scrape": "true", "prometheus.io/port": "15020", "prometheus.io/path": "/stats/prometheus"}


def url(one: ScrapeTarget | None) -> str | None:
    return None if one is None else one.url


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (pod(annotations=INJECTED), "http://10.0.0.7:15020/stats/prometheus"),
        (pod(annotations={"prometheus.io/scrape": "true"}), "http://10.0.0.7:9080/metrics"),
        (pod(annotations={**INJECTED, "prometheus.io/scheme": "https"}), "https://10.0.0.7:15020/stats/prometheus"),
        (pod(annotations={**INJECTED, "prometheus.io/path": "x"}), "http://10.0.0.7:15020/x"),
        (pod(ip="fd00::7", annotations=INJECTED), "http://[fd00::7]:15020/stats/prometheus"),
        (pod(labels={"app": "istiod"}), "http://10.0.0.7:15014/metrics"),
        (pod(), None),
        (pod(annotations={"prometheus.io/scrape": "false"}), None),
        (pod(annotations={**INJECTED, "prometheus.io/port": "99999"}), None),
        (pod(annotations={**INJECTED, "prometheus.io/port": "x"}), None),
        (pod(annotations={**INJECTED, "prometheus.io/scheme": "file"}), None),
        (pod(phase="Pending", annotations=INJECTED), None),
        (pod(phase="Succeeded", annotations=INJECTED), None),
        (pod(ip=None, annotations=INJECTED), None),
    ],
)
def test_targets(one: Pod, expected: str | None) -> None:
    assert url(target(one)) == expected


def test_labels_of_a_target() -> None:
    labels = {"app": "reviews", "version": "v1", "app.kubernetes.io/name": "reviews", "job": "mine", "empty": ""}
    made = target(pod(annotations=INJECTED, labels=labels))
    assert made is not None
    assert dict(made.labels) == {
        "app": "reviews",
        "app_kubernetes_io_name": "reviews",
        "version": "v1",
        "job": "kubernetes-pods",
        "instance": "10.0.0.7:15020",
        "namespace": "default",
        "pod": "reviews-v1-abc",
        "node": "local",
    }
    assert label_name("1a-b/c") == "_1a_b_c"


class Pages:
    """Pages by URL: text, or an error."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.pages: dict[str, str | Exception] = {}
        self.asked = 0
        self.store, self.metadata = Store(), Metadata()
        self.scraper = Scraper(self.store, self.metadata, self.get, 5.0, lambda: self.now)

    async def get(self, url: str, limit_s: float, most: int) -> bytes:
        self.asked += 1
        page = self.pages.get(url, OSError("refused"))
        if isinstance(page, Exception):
            raise page
        return page.encode()

    async def round(self) -> None:
        """Scrape everything once, five seconds later."""
        self.now += 5
        for one in list(self.scraper._scrapes.values()):
            await self.scraper.scrape(one)

    def query(self, text: str) -> dict[str, float]:
        at = round(self.now * 1000)
        value = evaluate.evaluate(self.store, parsing.parse(text), np.array([at], np.int64))
        rows = results.instant(value, at)["result"]
        return {row["metric"].get("pod", "") + row["metric"].get("le", ""): float(row["value"][1]) for row in rows}


@pytest.fixture
async def pages() -> Any:
    one = Pages()
    yield one
    for key in list(one.scraper._scrapes):
        one.scraper.change(key, None)


PAGE = "http://10.0.0.7:15020/stats/prometheus"


async def test_a_scrape_a_failure_and_an_end(pages: Pages) -> None:
    pages.scraper.change(("default", "a"), pod("a", annotations=INJECTED))
    for number in range(1, 4):
        pages.pages[PAGE] = f"# TYPE m counter\nm {number}\nold 1\n" if number < 3 else f"m {number}\n"
        await pages.round()
    assert pages.query("m") == {"a": 3.0}
    assert pages.query("old") == {}
    assert pages.query("up") == {"a": 1.0}
    assert pages.query("scrape_samples_scraped") == {"a": 1.0}
    assert pages.query("increase(m[10s])") == {"a": 2.0}
    assert pages.metadata.types == {"m": "counter"}
    for bad in (OSError("refused"), "m one\n", TimeoutError(), "x" * 5000, ValueError("status 503")):
        pages.pages[PAGE] = bad
        await pages.round()
        assert pages.query("up") == {"a": 0.0}
        assert pages.query("m") == {}
        (shown,) = pages.scraper.targets()
        assert (shown["health"], bool(shown["lastError"])) == ("down", True)
    pages.pages[PAGE] = "m 9\n"
    await pages.round()
    assert pages.query("m") == {"a": 9.0}
    assert pages.scraper.targets()[0]["health"] == "up"
    pages.now += 1
    pages.scraper.change(("default", "a"), None)
    assert pages.query("m") == pages.query("up") == {}
    assert pages.scraper.targets() == []


async def test_labels_of_the_page_win(pages: Pages) -> None:
    pages.pages[PAGE] = 'm{pod="other",le="1"} 1\n'
    pages.scraper.change(("default", "a"), pod("a", annotations=INJECTED))
    await pages.round()
    assert pages.query("m") == {"other1": 1.0}


async def test_no_page_has_series_of_another(pages: Pages) -> None:
    pages.pages[PAGE] = 'm{instance="10.0.0.8:15020",job="istiod"} 1\n'
    pages.scraper.change(("default", "a"), pod("a", annotations=INJECTED))
    await pages.round()
    query = (
        'm{instance="10.0.0.7:15020",job="kubernetes-pods",exported_instance="10.0.0.8:15020",exported_job="istiod"}'
    )
    assert pages.query(query) == {"a": 1.0}


async def test_a_page_that_floods_has_a_share(pages: Pages) -> None:
    pages.store.max_series, pages.store.max_of_target = 400, 100
    pages.scraper.change(("default", "b"), pod("b", ip="10.0.0.8", annotations=INJECTED))
    pages.scraper.change(("default", "a"), pod("a", annotations=INJECTED))
    pages.pages["http://10.0.0.8:15020/stats/prometheus"] = "good 1\n"
    for number in range(200):
        lines = "".join(f'flood{{n="{number}",i="{i}"}} 1\n' for i in range(20))
        pages.pages[PAGE] = f"steady {number}\n{lines}"
        await pages.round()
        assert pages.query("good") == {"b": 1.0}
        assert pages.query("steady") == {"a": float(number)}
    assert pages.query('up{pod="a"}') == {"a": 1.0}
    assert pages.store.refused > 0
    assert pages.store.evicted > 0
    assert len(pages.store.index) <= 110


async def test_a_pod_that_changes(pages: Pages) -> None:
    pages.pages[PAGE] = "m 1\n"
    key = ("default", "a")
    pages.scraper.change(key, pod("a", annotations=INJECTED))
    await pages.round()
    before = pages.scraper._scrapes[key]
    pages.scraper.change(key, pod("a", annotations={**INJECTED, "unrelated": "x"}))
    assert pages.scraper._scrapes[key] is before
    pages.now += 1
    pages.scraper.change(key, pod("a", annotations=INJECTED, labels={"version": "v2"}))
    assert pages.query("m") == {}
    await pages.round()
    assert pages.query('m{version="v2"}') == {"a": 1.0}


async def test_a_clock_that_goes_back(pages: Pages) -> None:
    pages.pages[PAGE] = "m 1\n"
    pages.scraper.change(("default", "a"), pod("a", annotations=INJECTED))
    await pages.round()
    pages.now -= 60
    await pages.round()
    pages.now += 120
    await pages.round()
    assert pages.query("count_over_time(m[10m])") == {"a": 2.0}


async def test_targets_are_scraped_over_and_over() -> None:
    store, enough = Store(), asyncio.Event()
    asked = 0

    async def page(url: str, limit_s: float, most: int) -> bytes:
        nonlocal asked
        asked += 1
        if asked >= 10:
            enough.set()
        return b"m 1\n"

    scraper = Scraper(store, Metadata(), page, 0.02)
    scraper.change(("default", "a"), pod("a", annotations=INJECTED))
    scraper.change(("default", "b"), pod("b", ip="10.0.0.8", annotations=INJECTED))
    async with asyncio.timeout(10):
        await enough.wait()
    for key in (("default", "a"), ("default", "b")):
        scraper.change(key, None)
    assert len(store.targets) == 2


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (lambda _: web.Response(status=503), "status 503"),
        (lambda _: web.Response(text="x" * (3 << 20)), "MiB"),
        (lambda _: web.Response(status=302, headers={"Location": "/good"}), "status 302"),
    ],
)
async def test_pages_over_http(handler: Callable[[web.Request], web.Response], error: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return handler(request)

    async def good(_: web.Request) -> web.Response:
        return web.Response(text="m 1\n")

    async def slow(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/bad", answer)
    app.router.add_get("/good", good)
    app.router.add_get("/slow", slow)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        assert await get(session, str(server.make_url("/good")), 5, 2000) == b"m 1\n"
        with pytest.raises(ValueError, match=error):
            await get(session, str(server.make_url("/bad")), 5, 2 << 20)
        with pytest.raises(TimeoutError, match=r"within 0.05 s"):
            await get(session, str(server.make_url("/slow")), 0.05, 2000)
        with pytest.raises(OSError, match="Connect"):
            await get(session, "http://127.0.0.1:1/x", 5, 2000)
