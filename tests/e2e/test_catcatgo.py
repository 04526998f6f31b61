"""CatCatGo: a canary for some users by cookie, faults, and what the mesh says of both."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bookinfo import KUBECTL, Cluster, new_state

NETWORKING = Path(__file__).parents[2] / "samples" / "catcatgo" / "networking"


class CatCatGo(Cluster):
    def start(self, *options: str) -> dict[str, Any]:
        self.found = json.loads(self.sailctl("demo", "catcatgo", "--no-load", "--detach", "-o", "json", *options))
        return self.found

    def kubectl(self, *arguments: str, stdin: str | None = None, fails: bool = False) -> str:
        return super().kubectl("--namespace=catcatgo", *arguments, stdin=stdin, fails=fails)

    def rule(self, name: str) -> None:
        self.kubectl("apply", "-f", str(NETWORKING / name))
        self.applied("-f", str(NETWORKING / name))

    def page(self, path: str = "/", cookie: str = "") -> tuple[int, str, str]:
        """(status, version, text) as a browser with a cookie sees it."""
        host, _, port = self.found["urls"]["gateway"].removeprefix("http://").partition(":")
        link = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            link.request("GET", path, headers={"cookie": cookie} if cookie else {})
            answer = link.getresponse()
            return answer.status, answer.headers.get("x-version", ""), answer.read().decode()
        finally:
            link.close()


@pytest.fixture(scope="module")
def cats() -> Iterator[CatCatGo]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    with new_state() as state:
        running = CatCatGo(state)
        running.start()
        running.kubectl("create", "job", "now", "--from=cronjob/crawler")
        running.kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=60s")
        yield running


def test_the_page_shows_the_kittens_that_the_cron_job_has_drawn(cats: CatCatGo) -> None:
    status, version, text = cats.page()
    assert (status, version, text.count("<img ")) == (200, "v1", 6)
    status, _, picture = cats.page("/pictures/tiger")
    assert (status, picture[:4]) == (200, "<svg")


def test_a_canary_for_those_with_the_cookie(cats: CatCatGo) -> None:
    cats.rule("virtual-service-canary-by-cookie.yaml")
    try:
        cats.eventually(lambda: cats.page(cookie="canary=kitten")[1] == "v2")
        cookies = ("a=b; canary=kitten; c=d", "canary=kitten", "", "canary=kittens", "canary=cat")
        assert [cats.page(cookie=cookie)[1] for cookie in cookies] == ["v2", "v2", "v1", "v1", "v1"]
    finally:
        cats.rule("catcatgo-gateway.yaml")


def test_faults_are_seen_in_the_graph(cats: CatCatGo) -> None:
    cats.rule("virtual-service-search-abort.yaml")
    try:
        statuses: Counter[int] = Counter()

        def both() -> bool:
            statuses[cats.page()[0]] += 1
            return statuses[200] > 5 and statuses[503] > 5

        cats.eventually(both, 30)

        def told() -> bool:
            cats.page()
            edges = json.loads(cats.sailctl("graph", "-n", "catcatgo", "-d", "30s", "-o", "json"))["edges"]
            of_search = [e for e in edges if e["service"] == "search" and e["source"] == "catcatgo/page-v1"]
            return any(e["errorShare"] > 0.1 for e in of_search)

        cats.eventually(told, 40)
    finally:
        cats.kubectl("delete", "virtualservice", "search")
