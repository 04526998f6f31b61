"""What the console's wizards and editor change is in force in real traffic, and is undone."""

from __future__ import annotations

import http.cookiejar
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..console.test_page import CHROMIUM, CONSOLE, needs_browser, needs_packages
from .bookinfo import Cluster, Load, to, virtual_service
from .test_console import address

Object = dict[str, Any]
ASK = (
    "import sys, time, urllib.request as r, urllib.error as e\n"
    "request = r.Request(sys.argv[1], headers=dict(h.split('=') for h in sys.argv[2:]))\n"
    "begin = time.monotonic()\n"
    "try:\n answer = r.urlopen(request, timeout=20)\n"
    "except e.HTTPError as error:\n answer = error\n"
    "except OSError as error:\n print(0, 0, error); raise SystemExit\n"
    "print(answer.status, time.monotonic() - begin, answer.read().decode())"
)
DETAILS = "http://details:9080/details/0"
REVIEWS = "http://reviews:9080/reviews/0"


class Console:
    """The console of a cluster as its owner's browser uses it, from the printed URL on."""

    def __init__(self, mesh: Cluster) -> None:
        self.mesh, self.base = mesh, address(mesh)
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self._undo: list[Object] = []

    def log_in(self) -> None:
        def answers() -> bool:
            try:
                return self._opener.open(f"{self.base}/healthz", timeout=5).status == 200
            except OSError:
                return False

        self.mesh.eventually(answers, 40)
        token = (self.mesh.state / "state" / "console-token").read_text()
        try:
            self._opener.open(f"{self.base}/?token={token}", timeout=10).close()
        except urllib.error.HTTPError as error:  # a checkout without the page's files
            error.close()

    def ask(self, path: str, body: Object | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Sec-Fetch-Site": "same-origin"})
        with self._opener.open(request, timeout=20) as answer:
            return json.load(answer)

    def apply(self, change: Object) -> Object:
        """Make a change; returns when every proxy that it concerns has it."""
        applied: Object = self.ask("/api/config/apply", change)
        assert applied["done"], applied
        self._undo.append(applied["undo"])
        return applied

    def form(self, form: str, name: str, values: Object, namespace: str = "default") -> None:
        body = {"form": form, "namespace": namespace, "name": name, "values": values}
        self.apply(self.ask("/api/forms/object", body)["change"])

    def traffic(self, service: str, edit: Callable[[Object], None]) -> Object:
        """Change a service's routing by its wizard; what it said it would do."""
        form = self.ask(f"/api/forms/traffic?namespace=default&service={service}")
        assert form["problem"] == ""
        if not form["rules"]["http"]:
            target = {"host": service, "subset": "", "port": 0, "weight": 0}
            form["rules"]["http"] = [{"matches": [], "targets": [target]}]
        edit(form["rules"])
        body = {"namespace": "default", "service": service, "rules": form["rules"]}
        proposal: Object = self.ask("/api/forms/traffic", body)
        assert [m for m in proposal["markers"] if m["severity"] == "Error"] == []
        self.apply(proposal["change"])
        return proposal

    def undo(self) -> None:
        while self._undo:
            applied = self.ask("/api/config/apply", self._undo.pop())
            assert applied["done"], applied


@pytest.fixture
def console(mesh: Cluster) -> Iterator[Console]:
    console = Console(mesh)
    console.log_in()
    yield console
    console.undo()


def inside(mesh: Cluster, url: str, *headers: str, pod: str = "deploy/productpage-v1") -> tuple[int, float, str]:
    """(status, seconds, body) of a request from a pod; status 0 for none."""
    out = mesh.kubectl("exec", pod, "--", "python3", "-c", ASK, url, *headers)
    status, seconds, body = out.split(" ", 2)
    return int(status), float(seconds), body


def version_of(answer: tuple[int, float, str]) -> str:
    """The Deployment of reviews that answered."""
    return str(json.loads(answer[2])["podname"]).rsplit("-", 2)[0]


def test_requests_are_routed_by_header_and_by_share(mesh: Cluster, console: Console) -> None:
    def edit(rules: Object) -> None:
        jason = [[{"part": "header", "operator": "exact", "name": "end-user", "value": "jason"}]]
        rules["http"] = [
            {"matches": jason, "targets": [{"host": "reviews", "subset": "v2"}]},
            {"targets": [{"host": "reviews", "subset": v, "weight": w} for v, w in (("v1", 0), ("v3", 100))]},
        ]

    proposal = console.traffic("reviews", edit)
    assert "Requests where header end-user is jason go to reviews v2." in proposal["effects"]
    mesh.eventually(lambda: mesh.reviews("jason") == "v2")
    mesh.eventually(lambda: mesh.reviews() == "v3")
    assert mesh.share(10) == {"v3": 10}
    console.undo()
    mesh.eventually(lambda: mesh.reviews() != "v3")


def test_a_request_is_explained_as_it_is_routed(mesh: Cluster, console: Console) -> None:
    def edit(rules: Object) -> None:
        rules["http"] = [
            {"matches": [[{"part": "header", "operator": "exact", "name": "end-user", "value": "jason"}]],
             "targets": [{"host": "reviews", "subset": "v2"}]},
            {"targets": [{"host": "reviews", "subset": "v3"}], "timeout": "3s"},
        ]  # fmt: skip

    console.traffic("reviews", edit)
    question = {"source": "default/productpage-v1", "url": REVIEWS}
    explained = {}

    def is_current() -> bool:
        explained.update(console.ask("/api/explain", question))
        return explained["timeout"] == "3s"

    mesh.eventually(is_current)
    assert [d["subset"] for d in explained["destinations"]] == ["v3"]
    assert [s["reason"] for s in explained["skipped"]] == ["header end-user must be jason, and is missing"]
    assert (
        version_of(inside(mesh, REVIEWS)) == explained["destinations"][0]["endpoints"][0]["workload"].partition("/")[2]
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        console.ask("/api/explain", {"url": "ftp://x"})


def test_faults_and_timeouts(mesh: Cluster, console: Console) -> None:
    console.traffic("details", lambda rules: rules["http"][0].update(abortStatus=418, abortPercent=100))
    mesh.eventually(lambda: inside(mesh, DETAILS)[0] == 418)
    console.traffic("ratings", lambda rules: rules["http"][0].update(delay="3s", delayPercent=100))

    def slow(rules: Object) -> None:
        rules["http"][0].update(timeout="0.5s", attempts=0)
        rules["http"][0]["targets"] = [{"host": "reviews", "subset": "v2"}]

    console.traffic("reviews", slow)
    mesh.eventually(lambda: inside(mesh, REVIEWS)[0] == 504)


def test_a_copy_of_requests_reaches_the_mirror(mesh: Cluster, console: Console) -> None:
    def edit(rules: Object) -> None:
        rules["http"][0] |= {
            "targets": [{"host": "reviews", "subset": "v1"}],
            "mirror": {"host": "reviews", "subset": "v3"},
            "mirrorPercent": 100,
        }

    console.traffic("reviews", edit)

    def lines() -> int:
        return mesh.kubectl("logs", "deploy/reviews-v3", "-c", "istio-proxy").count("GET /reviews/0")

    def mirrored() -> bool:
        assert inside(mesh, REVIEWS, "x-probe=mirror")[0] == 200
        return lines() > before

    mesh.eventually(lambda: version_of(inside(mesh, REVIEWS)) == "reviews-v1")
    before = lines()
    mesh.eventually(mirrored, 20)
    assert version_of(inside(mesh, REVIEWS)) == "reviews-v1"


def test_limits_and_stickiness_of_a_destination(mesh: Cluster, console: Console) -> None:
    console.traffic("reviews", lambda rules: rules["policy"].update(hashHeader="x-user"))

    def versions(user: str) -> set[str]:
        return {json.loads(inside(mesh, REVIEWS, f"x-user={user}")[2])["podname"] for _ in range(5)}

    mesh.eventually(lambda: len(versions("ann")) == 1, 30)
    console.traffic(
        "details", lambda rules: rules["policy"].update(maxRequests=1, maxPendingRequests=1, maxConnections=1)
    )

    def refused() -> bool:
        with ThreadPoolExecutor(16) as pool:
            pages = list(pool.map(lambda _: mesh.get("/productpage").body, range(32)))
        return any("Error fetching product details" in page for page in pages)

    mesh.eventually(refused, 40)


def test_a_service_is_exposed_at_a_gateway(mesh: Cluster, console: Console) -> None:
    values = {"selector": {"istio": "ingressgateway"}, "hosts": ["details.example.com"], "port": 80}
    console.form("gateway", "details", {**values, "portName": "http", "protocol": "HTTP"})

    def edit(rules: Object) -> None:
        rules |= {"hosts": ["details", "details.example.com"], "gateways": ["mesh", "default/details"]}

    console.traffic("details", edit)
    mesh.eventually(lambda: mesh.get("/details/0", Host="details.example.com").status == 200)


@pytest.mark.parametrize(
    ("form", "values", "headers", "status"),
    [
        ("authorization", {"workload": {"app": "details"}, "action": "DENY", "methods": ["GET"]}, (), 403),
        ("rate-limit", {"workload": {"app": "details"}, "requests": 1, "per": "1h"}, (), 429),
        ("token", {"workload": {"app": "details"}, "issuer": "a", "jwksUri": "https://x.invalid/k"}, ("Authorization=Bearer x",), 401),
        ("sidecar", {"workload": {"app": "productpage"}, "hosts": ["istio-system/*"], "mode": "REGISTRY_ONLY"}, (), 0),
    ],
)  # fmt: skip
def test_each_form_is_in_force(
    mesh: Cluster, console: Console, form: str, values: Object, headers: tuple[str, ...], status: int
) -> None:
    assert inside(mesh, DETAILS)[0] == 200
    console.form(form, "from-the-console", values)
    mesh.eventually(lambda: inside(mesh, DETAILS, *headers)[0] == status, 30)
    console.undo()
    mesh.eventually(lambda: inside(mesh, DETAILS)[0] == 200, 30)


def test_strict_mutual_tls_refuses_plain_text(mesh: Cluster, console: Console) -> None:
    image = mesh.kubectl("get", "deploy", "productpage-v1", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    plain = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain-text", "labels": {"sidecar.istio.io/inject": "false"}},
        "spec": {"containers": [{"name": "client", "image": image, "command": ["sleep", "infinity"]}]},
    }
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(plain))
    try:
        mesh.kubectl("wait", "--for=condition=Ready", "pod/plain-text", "--timeout=30s")
        mesh.eventually(lambda: inside(mesh, DETAILS, pod="plain-text")[0] == 200)
        console.form("mutual-tls", "strict", {"workload": {"app": "details"}, "mode": "STRICT"})
        mesh.eventually(lambda: inside(mesh, DETAILS, pod="plain-text")[0] == 0)
        assert inside(mesh, DETAILS)[0] == 200
    finally:
        mesh.kubectl("delete", "pod", "plain-text", "--grace-period=0", "--force")


def test_a_service_entry_lets_requests_out_by_name(mesh: Cluster, console: Console) -> None:
    values = {
        "hosts": ["outside.example.com"],
        "port": 80,
        "portName": "http",
        "protocol": "HTTP",
        "resolution": "NONE",
    }
    console.form("service-entry", "outside", values)
    routes = ("proxy-config", "route", "deploy/productpage-v1", "--name", "80", "-o", "json")
    mesh.eventually(lambda: "outside.example.com" in mesh.sailctl(*routes))


def test_a_policy_by_what_was_seen_allows_just_that(mesh: Cluster, console: Console) -> None:
    def seen() -> Object:
        assert inside(mesh, DETAILS)[0] == 200
        body = {"namespace": "default", "workload": "details-v1", "name": "seen"}
        proposal: Object = console.ask("/api/forms/observed", body)
        return proposal

    mesh.eventually(lambda: seen()["observed"] > 0, 30)
    proposal = seen()
    assert "bookinfo-productpage" in proposal["change"]["yaml"]
    console.apply(proposal["change"])
    mesh.eventually(lambda: inside(mesh, "http://details:9080/health")[0] == 403, 30)
    assert inside(mesh, DETAILS)[0] == 200


def test_a_viewer_cannot_write(mesh: Cluster) -> None:
    mesh.kubectl("create", "serviceaccount", "viewer")
    try:
        mesh.kubectl("create", "rolebinding", "viewer", "--clusterrole=kiali-viewer", "--serviceaccount=default:viewer")
        token = mesh.kubectl("create", "token", "viewer").strip()
        head = {"Authorization": f"Bearer {token}"}
        obj = virtual_service("details", {"route": [to("details")]})
        obj["metadata"]["namespace"] = "default"
        body = json.dumps({"yaml": json.dumps(obj)}).encode()
        request = urllib.request.Request(f"{address(mesh)}/api/config/apply", body, head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            applied = json.load(answer)
        assert applied["done"] == []
        assert applied["markers"][0]["code"] == "Forbidden"
        mesh.kubectl("get", "virtualservice", "details", fails=True)
    finally:
        mesh.kubectl("delete", "rolebinding/viewer", "serviceaccount/viewer", "--ignore-not-found")


@needs_packages
@needs_browser
@pytest.mark.timeout(300)
def test_a_broken_service_is_found_understood_and_mended(mesh: Cluster, console: Console) -> None:
    """As a person does it, in a browser: overview, graph, why, wizard, healed."""
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    mesh.apply(virtual_service("details", {"fault": fault, "route": [to("details")]}))
    url = f"{console.base}/?token={(mesh.state / 'state' / 'console-token').read_text()}"
    environment = {**mesh.environment, "CHROMIUM": CHROMIUM or ""}
    with Load(mesh, threads=1):
        done = subprocess.run(
            ["node", "tests/e2e/walk.mjs", url],
            cwd=CONSOLE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    spec = json.loads(mesh.kubectl("get", "virtualservice", "details", "-o", "json"))["spec"]
    assert spec["http"] == [{"route": [{"destination": {"host": "details"}}]}]
