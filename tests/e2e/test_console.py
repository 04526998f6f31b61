"""The console of a local cluster, by the URL that `sailctl demo` prints: the graph of real requests, health, and rights."""

from __future__ import annotations

import http.cookiejar
import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest

from ..console.test_page import CHROMIUM, CONSOLE, needs_browser, needs_packages
from .bookinfo import Cluster, Load, to, virtual_service

Object = dict[str, Any]
Opener = urllib.request.OpenerDirector


def address(mesh: Cluster) -> str:
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    return f"http://{mesh.kubectl('get', 'svc', 'kiali', '-n', 'istio-system', '-o', path)}:20001"


def ask(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.fixture
def base(mesh: Cluster) -> str:
    """The console's address, when it answers: it starts after the cluster is ready."""
    url = address(mesh)

    def answers() -> bool:
        try:
            return urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200
        except OSError:
            return False

    mesh.eventually(answers, 40)
    return url


@pytest.fixture
def token(mesh: Cluster) -> str:
    return mesh.kubectl("create", "token", "kiali", "-n", "istio-system").strip()


def test_the_graph_shows_what_was_sent(mesh: Cluster, base: str, token: str) -> None:
    """As `sailctl graph` shows it, since both read the same metrics."""

    def edges() -> dict[tuple[str, str], Object]:
        assert mesh.get("/productpage").status == 200  # a rate needs requests in more than one interval
        graph = ask(f"{base}/api/graph?type=workload&services=false&window=2m&namespaces=default,istio-system", token)
        return {(e["source"], e["target"]): e for e in graph["edges"]}

    front = ("workload:istio-system/istio-ingressgateway", "workload:default/productpage-v1")
    back = ("workload:default/productpage-v1", "workload:default/details-v1")
    mesh.eventually(lambda: {front, back} <= edges().keys(), 40)
    mesh.eventually(lambda: edges()[front]["mutualTlsShare"] == 1.0, 30)
    shown = edges()
    assert shown[front]["traffic"]["protocol"] == "http"
    assert "200" in shown[front]["traffic"]["codes"]
    assert shown[front]["status"] == "Healthy"
    printed = json.loads(mesh.sailctl("graph", "-d", "2m", "-o", "json"))
    namespaces = ("default", "istio-system")
    workloads = {n["id"] for n in printed["nodes"] if n["kind"] == "workload" and n["namespace"] in namespaces}
    pairs = {(e["source"], e["destination"]) for e in printed["edges"] if {e["source"], e["destination"]} <= workloads}
    assert pairs
    assert {(f"workload:{source}", f"workload:{destination}") for source, destination in pairs} <= edges().keys()


def test_a_fault_is_red_within_fifteen_seconds_and_says_why(mesh: Cluster, base: str, token: str) -> None:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    mesh.apply(virtual_service("details", {"fault": fault, "route": [to("details")]}))

    def productpage() -> Object:
        mesh.get("/productpage")
        graph = ask(f"{base}/api/graph?type=workload&services=false&window=15s&namespaces=default", token)
        return next((n for n in graph["nodes"] if n["id"] == "workload:default/productpage-v1"), {})

    mesh.eventually(lambda: productpage().get("health", {}).get("status") == "Failure", 25)
    worst = productpage()["health"]["judgements"][0]
    assert (worst["direction"], worst["codes"], worst["status"]) == ("outbound", "5XX", "Failure")
    assert worst["share"] >= worst["failureFrom"]
    services = ask(f"{base}/api/graph?type=service&window=1m&namespaces=default", token)["nodes"]
    assert "faultInjection" in next(n for n in services if n["name"] == "details")["badges"]


def test_the_printed_url_logs_in_once(mesh: Cluster, base: str) -> None:
    secret = (mesh.state / "state" / "console-token").read_text()
    assert (mesh.state / "state" / "console-token").stat().st_mode & 0o077 == 0
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def status(path: str) -> tuple[int, str]:
        """(status, URL after redirects)."""
        try:
            with opener.open(base + path, timeout=10) as answer:
                return answer.status, answer.url
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.url

    assert status("/api/graph")[0] == 401
    landed, url = status(f"/?token={secret}")
    assert landed in (200, 404)  # 404: a checkout without the page's files
    assert url == f"{base}/"
    with opener.open(f"{base}/api/session", timeout=10) as answer:
        assert json.load(answer)["user"] == "system:serviceaccount:istio-system:kiali"
    assert all(secret not in log.read_text() for log in mesh.state.glob("logs/*.log"))


def test_a_user_of_one_namespace_sees_that_namespace(mesh: Cluster, base: str) -> None:
    mesh.kubectl("create", "namespace", "shop")
    try:
        mesh.kubectl("create", "serviceaccount", "keeper", "-n", "shop")
        role = ("--clusterrole=view", "--serviceaccount=shop:keeper")
        mesh.kubectl("create", "rolebinding", "keeper", "-n", "shop", *role)
        token = mesh.kubectl("create", "token", "keeper", "-n", "shop").strip()
        mesh.eventually(lambda: [n["name"] for n in ask(f"{base}/api/namespaces", token)] == ["shop"])
        assert ask(f"{base}/api/workloads", token) == []
        assert ask(f"{base}/api/config?namespaces=default", token) == []
        assert "productpage" not in json.dumps(ask(f"{base}/api/graph?namespaces=default", token))
    finally:
        mesh.kubectl("delete", "namespace", "shop")


def test_a_pod_cannot_read_it_without_a_token(mesh: Cluster, base: str) -> None:
    script = (
        "import urllib.request as r, urllib.error as e\n"
        "try: print(r.urlopen('http://kiali.istio-system:20001/api/graph', timeout=10).status)\n"
        "except e.HTTPError as error: print(error.code)"
    )
    assert mesh.kubectl("exec", "deploy/productpage-v1", "--", "python3", "-c", script).strip() == "401"


def test_dashboard_opens_the_console_logged_in(mesh: Cluster, base: str) -> None:
    command = [sys.executable, "-m", "sailcloth.cli", "dashboard", "kiali", "--no-browser"]
    with subprocess.Popen(command, env=mesh.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            local, _, token = process.stdout.readline().strip().partition("/?token=")
            assert ask(f"{local}/api/session", token)["user"] == "system:serviceaccount:istio-system:kiali"
        finally:
            process.terminate()


@needs_packages
@needs_browser
@pytest.mark.timeout(240)
def test_a_browser_shows_the_graph_and_why_a_workload_is_red(mesh: Cluster, base: str) -> None:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    mesh.apply(virtual_service("details", {"fault": fault, "route": [to("details")]}))
    url = f"{base}/?token={(mesh.state / 'state' / 'console-token').read_text()}"
    nodes = ("App istio-ingressgateway", "App productpage v1", "App reviews")
    command = ["node", "tests/e2e/cluster.mjs", url, *nodes, "--red", "App productpage v1"]
    with Load(mesh, threads=1):
        done = subprocess.run(
            command,
            cwd=CONSOLE,
            env={**mesh.environment, "CHROMIUM": CHROMIUM or ""},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "had code 5XX" in done.stdout
