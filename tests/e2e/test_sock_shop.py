"""The Sock Shop walk-through over real HTTP: shopping, two colours of the front end, faults and limits of the catalogue."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bookinfo import KUBECTL, new_state
from .sockshop import FIREFOX, Browser, Shop

PUBLISHED = Path(__file__).parents[3] / "shared" / "cases" / "samples" / "sock-shop" / "complete-demo.yaml"
COLOURFUL = "3395a43e-2d88-40de-b95f-e00e1502085b"
USER = {"authorization": "Basic " + base64.b64encode(b"user:password").decode()}


@pytest.fixture(scope="module")
def running() -> Iterator[Shop]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    with new_state() as state:
        shop = Shop(state)
        shop.start()
        shop.open()
        yield shop


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    """The shop, blue and without faults and limits at the end as at the begin."""
    yield running
    running.reset()


def buy(shop: Shop) -> None:
    """A visitor fills a cart, logs in, orders; the parcel reaches the end of the queue."""
    browser = Browser(shop)
    assert browser.ask("/cart", "POST", {"id": COLOURFUL}).status == 201
    assert browser.ask("/orders", "POST", {}).status == 401
    assert browser.ask("/login", authorization="Basic dXNlcjpuby1pdA==").status == 401
    assert browser.ask("/login", **USER).status == 200
    assert "logged_in" in browser.cookies
    (item,) = json.loads(browser.ask("/cart").body)  # the cart came along
    assert (item["itemId"], item["quantity"], item["unitPrice"]) == (COLOURFUL, 1, 18.0)
    made = browser.ask("/orders", "POST", {})
    assert made.status == 201, made.body
    order = json.loads(made.body)
    assert order["total"] == 22.99
    assert order["customer"]["username"] == "user"
    assert browser.ask("/cart", "DELETE").status == 202
    assert json.loads(browser.ask("/cart").body) == []
    assert order["id"] in [o["id"] for o in json.loads(browser.ask("/orders").body)]
    shop.eventually(lambda: order["id"] in shop.kubectl("logs", "deploy/queue-master", "-c", "queue-master"))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published manifest is not at hand")
def test_the_published_manifest_applies_unchanged(state: Path) -> None:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    shop = Shop(state)
    shop.start()
    shop.kubectl("apply", "-f", str(PUBLISHED))
    route = {"route": [{"destination": {"host": "front-end"}}]}
    servers = [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    kind = {"apiVersion": "networking.istio.io/v1", "metadata": {"name": "sock-shop"}}
    rules = [
        {**kind, "kind": "Gateway", "spec": spec},
        {**kind, "kind": "VirtualService", "spec": {"hosts": ["*"], "gateways": ["sock-shop"], "http": [route]}},
    ]
    shop.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": rules}))
    shop.ready()
    pods = json.loads(shop.kubectl("get", "pods", "-o", "json"))["items"]
    assert len(pods) == 14
    for pod in pods:
        statuses = [*pod["status"]["containerStatuses"], *pod["status"].get("initContainerStatuses", ())]
        assert "istio-proxy" in [c["name"] for c in statuses]
        assert all(c["ready"] for c in statuses), pod["metadata"]["name"]
    buy(shop)


def test_the_front_page_is_blue(shop: Shop) -> None:
    page = shop.get("/")
    assert "<title>WeaveSocks</title>" in page.body
    assert 'data-colour="blue"' in page.body
    assert page.headers["content-type"].startswith("text/html")


def test_socks_are_listed_and_filtered(shop: Shop) -> None:
    assert len(json.loads(shop.get("/catalogue").body)) == 10
    blue = json.loads(shop.get("/catalogue?tags=blue&sort=price&size=3").body)
    assert [s["price"] for s in blue] == [7.99, 14.0, 17.32]
    assert all("blue" in s["tag"] for s in blue)
    assert "magic" in json.loads(shop.get("/tags").body)["tags"]
    picture = shop.get(blue[0]["imageUrl"][0])
    assert picture.headers["content-type"] == "image/svg+xml"


def test_a_customer_buys_socks(shop: Shop) -> None:
    buy(shop)


def test_all_visitors_change_to_red_and_back(shop: Shop) -> None:
    shop.rules("virtual-service-front-end-v2.yaml")
    assert shop.colours(20) == {"v2": 20}
    assert 'data-colour="red"' in shop.get("/").body
    shop.rules("virtual-service-front-end-v1.yaml")
    assert shop.colours(20) == {"v1": 20}


def test_a_session_goes_on_in_the_other_colour(shop: Shop) -> None:
    browser = Browser(shop)
    assert browser.ask("/login", **USER).status == 200
    shop.rules("virtual-service-front-end-v2.yaml")
    answer = browser.ask("/customers")
    assert (answer.status, answer.headers["x-front-end"]) == (200, "v2")


def test_a_canary_sees_a_fifth_of_the_visits(shop: Shop) -> None:
    shop.rules("virtual-service-front-end-20-v2.yaml")
    share = shop.colours(200)
    assert share.total() == 200
    assert 7 <= share["v2"] <= 76  # 40 are expected: 5.8 standard deviations below, 6.3 above


def test_firefox_users_see_red(shop: Shop) -> None:
    shop.rules("virtual-service-front-end-firefox-v2.yaml")
    assert shop.colours(10, agent=FIREFOX) == {"v2": 10}
    assert shop.colours(10, agent="Mozilla/5.0 (Macintosh) Safari/605.1.15") == {"v1": 10}


def test_red_gets_a_copy_of_every_request(shop: Shop) -> None:
    shop.rules("virtual-service-front-end-mirror-v2.yaml")

    def copies() -> int:
        return shop.kubectl("logs", "deploy/front-end-v2", "-c", "front-end").count("GET /tags?mirrored 200")

    before = copies()
    answers = Counter(shop.get("/tags?mirrored").headers["x-front-end"] for _ in range(20))
    assert answers == {"v1": 20}
    shop.eventually(lambda: copies() - before == 20)


def test_the_catalogue_is_five_seconds_late(shop: Shop) -> None:
    shop.rules("virtual-service-catalogue-delay.yaml")
    slow = shop.get("/catalogue")
    assert slow.status == 200
    assert 5.0 <= slow.took_s < 8.0
    assert shop.get("/").took_s < 2.0


def test_a_tenth_of_the_requests_to_the_catalogue_fails(shop: Shop) -> None:
    shop.rules("virtual-service-catalogue-abort.yaml")
    counts = Counter(shop.get("/catalogue?size=1").status for _ in range(300))
    assert set(counts) == {200, 500}
    assert 3 <= counts[500] <= 66  # 30 are expected: 5.2 standard deviations below, 6.9 above


def test_an_address_sees_one_colour(shop: Shop) -> None:
    shop.rules("virtual-service-front-end-by-source-ip.yaml")
    seen = {}
    for number in range(2, 34):
        browser = Browser(shop, source=f"127.0.0.{number}")
        seen[number] = {browser.ask("/").headers["x-front-end"] for _ in range(4)}
    assert all(len(colours) == 1 for colours in seen.values()), seen
    assert {"v1"} in seen.values()
    assert {"v2"} in seen.values()


def test_the_circuit_breaker_refuses_what_is_too_much(shop: Shop) -> None:
    load = ("-c", "4", "-qps", "0", "-n", "200", "-loglevel", "Warning", "http://catalogue/catalogue")
    before, _ = shop.fortio(*load)
    assert before == {200: 200}
    shop.rules("destination-rule-catalogue-circuit-breaker.yaml")
    counts, text = shop.fortio(*load)
    assert set(counts) == {200, 503}
    assert counts.total() == 200
    assert "All done 200 calls" in text
    alone, _ = shop.fortio("-c", "1", "-qps", "0", "-n", "20", "http://catalogue/catalogue")
    assert alone == {200: 20}


def test_visitors_meet_the_circuit_breaker(shop: Shop) -> None:
    shop.rules("destination-rule-catalogue-circuit-breaker.yaml")
    counts: Counter[int] = Counter()
    lock = threading.Lock()

    def visit() -> None:
        for _ in range(50):
            status = shop.get("/catalogue").status
            with lock:
                counts[status] += 1

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert set(counts) == {200, 503}
    assert counts.total() == 400


def test_failed_requests_are_tried_again(shop: Shop) -> None:
    def tries(marker: str) -> int:
        return shop.kubectl("logs", "deploy/catalogue", "-c", "catalogue").count(f"GET /catalogue?{marker} 500")

    shop.rules("virtual-service-catalogue-retries.yaml")
    shop.kubectl("scale", "deployment/catalogue-db", "--replicas=0")
    try:
        shop.kubectl("wait", "--for=delete", "pod", "-l", "name=catalogue-db", "--timeout=30s")
        shop.eventually(lambda: shop.get("/catalogue?warm").status == 500)
        assert shop.get("/catalogue?tried").status == 500
        shop.eventually(lambda: tries("tried") == 4)
    finally:
        shop.kubectl("scale", "deployment/catalogue-db", "--replicas=1")
        shop.kubectl("rollout", "status", "deployment/catalogue-db", "--timeout=30s")
    shop.eventually(lambda: shop.get("/catalogue").status == 200)
