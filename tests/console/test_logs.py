"""Logs over the console's API: who may read them, in which order lines come, and what becomes of containers that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from sailcloth.console import logs
from sailcloth.console.answers import BadQuery
from sailcloth.console.details import Subject
from sailcloth.kube.pod_logs import Line

from .cluster import LISTS
from .test_server import Lab, Web, bearer, get, lab, web

__all__ = ["lab", "web"]  # fixtures

CART = "kind=workload&namespace=shop&name=cart-v1"
ACCESS = (
    '[2026-11-30T08:00:02.500Z] "GET /a HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 1 - "-" "c" "id" "cart" "-" '
    "outbound|80||cart - 10.0.0.1:80 10.0.0.2:1 - -"
)


class Answer:
    """An answer of the API server with a body in pieces; `open`: it does not end."""

    def __init__(self, status: int, *pieces: bytes, open: bool = False) -> None:
        self.status, self.pieces, self.open = status, pieces, open
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.open:
            await asyncio.Event().wait()

    async def read(self) -> bytes:
        return b"".join(self.pieces)


def serve(lab: Lab, follow: bool = False, **answers: Answer) -> list[dict[str, str]]:
    """Answer requests for logs by container; returns the parameters of the requests."""
    asked: list[dict[str, str]] = []

    @contextlib.asynccontextmanager
    async def request(method: str, path: str, params: dict[str, str], **_: object) -> AsyncIterator[Answer]:
        assert (method, path.rpartition("/")[2]) == ("GET", "log")
        asked.append({**params, "pod": path.split("/")[-2]})
        yield answers[params["container"].replace("-", "_")]

    lab.api.request = request  # type: ignore[method-assign]
    lab.api.viewed = {"pods/log"}
    return asked


APP = Answer(200, b"2026-11-30T08:00:01Z starting\n2026-11-30T08:00:0", b"3Z ERROR: no stock\n")
PROXY = Answer(200, b"2026-11-30T08:00:02Z " + ACCESS.encode() + b"\n")


async def test_lines_of_all_containers_come_by_time(web: Web, lab: Lab) -> None:
    asked = serve(lab, app=APP, istio_proxy=PROXY)
    shown = await get(web, f"/api/logs?{CART}&lines=2", "shop-token")
    assert [(line["container"], line["access"], line["level"]) for line in shown["lines"]] == [
        ("istio-proxy", True, "error"),
        ("app", False, "error"),
    ]
    assert (shown["containers"], shown["dropped"], shown["problems"]) == (["app", "istio-proxy"], 1, [])
    assert {(a["container"], a["tailLines"], a["pod"]) for a in asked} == {
        ("app", "2", "cart-v1-abc-1"),
        ("istio-proxy", "2", "cart-v1-abc-1"),
    }


async def test_a_container_that_does_not_answer_is_a_problem(web: Web, lab: Lab) -> None:
    waiting = b'{"kind": "Status", "reason": "BadRequest", "message": "container app is waiting to start"}'
    serve(lab, app=Answer(400, waiting), istio_proxy=PROXY)
    shown = await get(web, f"/api/logs?{CART}", "shop-token")
    assert len(shown["lines"]) == 1
    assert shown["problems"] == ["cart-v1-abc-1 app: container app is waiting to start"]


@pytest.mark.parametrize("path", ["logs", "logs/events"])
async def test_without_the_right_to_logs_there_are_none(web: Web, lab: Lab, path: str) -> None:
    asked = serve(lab, app=APP, istio_proxy=PROXY)
    lab.api.refused = {"pods/log"}
    async with web.get(f"/api/{path}?{CART}", headers=bearer("shop-token")) as answer:
        assert answer.status == 403
        assert "--subresource=log" in (await answer.json())["fix"]
    async with web.get(
        f"/api/{path}?kind=workload&namespace=bank&name=ledger-v1", headers=bearer("shop-token")
    ) as answer:
        assert answer.status == 404
    assert not asked


async def events(answer: Any) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield orjson.loads(line.removeprefix(b"data: "))


async def test_lines_are_followed(web: Web, lab: Lab) -> None:
    serve(lab, app=Answer(200, *APP.pieces, open=True), istio_proxy=Answer(200, *PROXY.pieces, open=True))
    async with web.get(f"/api/logs/events?{CART}", headers=bearer("shop-token")) as answer:
        assert "Content-Security-Policy" in answer.headers
        texts: list[str] = []
        async for batch in events(answer):
            texts += [line["text"] for line in batch["lines"]]
            if len(texts) == 3:
                break
    assert set(texts) == {"starting", ACCESS, "ERROR: no stock"}


async def test_following_ends_with_the_right(web: Web, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LOOK_S", 0.05)
    serve(lab, app=Answer(200, open=True), istio_proxy=Answer(200, open=True))
    async with web.get(f"/api/logs/events?{CART}", headers=bearer("shop-token")) as answer:
        assert (await anext(events(answer)))["containers"] == ["app", "istio-proxy"]
        lab.api.refused = {"pods/log"}
        lab.clock.now += 31
        async with asyncio.timeout(10):
            assert [batch async for batch in events(answer)] == []


async def test_containers_are_chosen() -> None:
    of, names = Subject("workload", "shop", "cart-v1"), {"cart-v1-abc-1", "web-v1-abc-1"}
    chosen, every = logs.choose(LISTS["pods"], of, names, {"containers": "app", "pods": "web-v1-abc-1"})
    assert [(p["metadata"]["name"], c) for p, c in chosen] == [("web-v1-abc-1", "app")]
    assert every == ["app", "istio-proxy"]
    many = [{**p, "metadata": {**p["metadata"], "name": f"x{n}"}} for p in LISTS["pods"][:1] for n in range(21)]
    with pytest.raises(BadQuery, match="42 are too many"):
        logs.choose(many, of, {f"x{n}" for n in range(21)}, {})


@pytest.mark.parametrize(
    ("container", "text", "level"),
    [
        ("app", "2026 ERROR boom", "error"),
        ("app", '{"level": "warn", "msg": "x"}', "warning"),
        ("app", "terror and errors", "info"),
        ("istio-proxy", ACCESS, "error"),
        ("istio-proxy", ACCESS.replace("503 UH", "404 -"), "warning"),
        ("istio-proxy", ACCESS.replace("503 UH", "200 -"), "info"),
        ("istio-proxy", "[2026-11-30 08:00:00.000][17][warning][config] x", "warning"),
    ],
)
def test_levels(container: str, text: str, level: str) -> None:
    assert logs.shown_line(Line("t", "shop", "p", container, text)).level == level


async def test_an_access_log_line_in_words(web: Web) -> None:
    async with web.post("/api/logs/explain", json={"line": ACCESS}, headers=bearer("shop-token")) as answer:
        explained = await answer.json()
    assert "no healthy upstream" in explained["summary"]
    assert {"name": "response_code", "value": "503", "meaning": "of HTTP; 0: no response"} in explained["fields"]
    for body in ("x", "[]", '{"line": 1}', '{"line": "hello"}'):
        async with web.post("/api/logs/explain", data=body, headers=bearer("shop-token")) as answer:
            assert answer.status == 400
    async with web.post("/api/logs/explain", json={"line": ACCESS}) as answer:
        assert answer.status == 401
