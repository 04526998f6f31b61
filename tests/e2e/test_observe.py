"""`sailctl logs` and `sailctl tap` on Bookinfo."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from typing import Any

from .bookinfo import Cluster

Object = dict[str, Any]


def start(cluster: Cluster, *arguments: str) -> subprocess.Popen[str]:
    command = [*cluster.SAILCTL, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cluster.environment)


def test_logs_of_application_and_proxy_are_one_stream(mesh: Cluster) -> None:
    mesh.get("/productpage")
    lines: list[Object] = []

    def there() -> bool:
        told = mesh.sailctl("logs", "service/reviews", "deploy/productpage-v1", "-o", "json")
        lines[:] = [json.loads(line) for line in told.splitlines()]
        wanted = {"istio-proxy", "productpage", "reviews"}
        return {line["container"] for line in lines} == wanted or not mesh.get("/productpage")

    mesh.eventually(there)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert {line["pod"].rsplit("-", 2)[0] for line in lines} >= {"productpage-v1", "reviews-v1"}
    only = mesh.sailctl("logs", "deploy/productpage-v1", "--app", "--tail", "1")
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} productpage-v1-\S+ productpage ", only)


def test_tap_shows_requests_as_they_pass(mesh: Cluster) -> None:
    tapping = start(
        mesh, "tap", "deploy/productpage-v1", "deploy/ratings-v1", "--status", "2xx", "--direction", "in", "--path", "/product",
        "--max", "4", "-o", "json",
    )  # fmt: skip
    try:
        mesh.eventually(lambda: bool(mesh.get("/productpage")) and tapping.poll() is not None, 40)
        out, problems = tapping.communicate(timeout=10)
    finally:
        tapping.kill()
    assert (tapping.returncode, problems) == (0, "")
    seen = [json.loads(line) for line in out.splitlines()]
    assert len(seen) == 4
    assert {(one["direction"], one["path"]) for one in seen} == {("in", "/productpage")}
    got = seen[0]
    assert got["source"].startswith("istio-ingressgateway-")
    assert got["destination"].startswith("productpage-v1-")
    assert (got["method"], got["status"]) == ("GET", 200)


def test_tap_ends_at_control_c(mesh: Cluster) -> None:
    tapping = start(mesh, "tap", "-n", "default")
    tapped = threading.Event()

    def ask() -> None:
        while not tapped.wait(0.3):
            mesh.get("/productpage")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert tapping.stdout is not None
        line = next(line for line in tapping.stdout if "GET" in line)
        tapping.send_signal(signal.SIGINT)
        _, problems = tapping.communicate(timeout=10)
    finally:
        tapped.set()
        asking.join()
        tapping.kill()
    assert "Traceback" not in problems
    assert " → " in line


def test_what_is_not_there_is_told(mesh: Cluster) -> None:
    for arguments, text in (
        (("logs", "nothing"), "'nothing' has no pod in namespace default"),
        (("logs", "deploy/nothing"), '"nothing" not found'),
        (("tap", "--status", "teapot"), "write 503, 5xx or >=400"),
    ):
        ran = start(mesh, *arguments)
        _, problems = ran.communicate(timeout=30)
        assert ran.returncode
        assert text in problems
