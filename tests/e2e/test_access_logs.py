"""Access logs of a running mesh: kept once over a restart of telemetry, found by trace, and shown by `sailctl tap --since`."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest

from .bookinfo import Cluster, virtual_service

Object = dict[str, Any]
PROXY = "/api/v1/namespaces/istio-system/services/http:{}/proxy"


def requests(mesh: Cluster, **query: str) -> list[Object]:
    path = PROXY.format("access-logs:3100") + "/api/v1/requests?"
    answer: Object = json.loads(mesh.kubectl("get", "--raw", path + urllib.parse.urlencode(query)))
    assert answer["complete"]
    return list(answer["requests"])


def asked(mesh: Cluster, **query: str) -> list[Object]:
    try:
        return requests(mesh, **query)
    except AssertionError:  # telemetry starts
        return []


@pytest.fixture(autouse=True)
def ready(mesh: Cluster) -> None:
    """The process starts after the cluster is ready."""
    mesh.eventually(lambda: bool(mesh.get("/productpage").status and asked(mesh, limit="1")), 40)


def test_each_request_is_kept_once_over_a_restart(mesh: Cluster) -> None:
    for number in range(20):
        if number == 10:
            mesh.eventually(lambda: len(asked(mesh, workload="istio-ingressgateway", path="/productpage?kept")) > 0)
            mesh.kill("sailcloth.telemetry")
        mesh.get(f"/productpage?kept={number}")
    query = {"path": "/productpage?kept", "limit": "100"}
    mesh.eventually(lambda: len(asked(mesh, **query)) >= 40, 30)
    for workload, direction in (("istio-system/istio-ingressgateway", "out"), ("default/productpage-v1", "in")):
        listed = requests(mesh, **query, workload=workload, direction=direction)
        assert [one["path"] for one in listed] == [f"/productpage?kept={n}" for n in reversed(range(20))]
    inbound = requests(mesh, **query, direction="in")
    assert inbound[0]["source"].startswith("istio-system/istio-ingressgateway-")


def test_a_trace_leads_to_its_requests(mesh: Cluster) -> None:
    def found() -> bool:
        mesh.get("/productpage")
        path = "/api/traces?service=productpage.default&limit=20"
        traces = json.loads(mesh.kubectl("get", "--raw", PROXY.format("tracing:80") + path))["data"]
        for trace in traces:
            listed = requests(mesh, trace=trace["traceID"])
            if {"in", "out"} == {one["direction"] for one in listed} and len(listed) >= 5:
                return len({one["request_id"] for one in listed}) == 1
        return False

    mesh.eventually(found, 40)


def test_tap_shows_what_failed_and_why(mesh: Cluster) -> None:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    mesh.apply(virtual_service("details", {"fault": fault, "route": [{"destination": {"host": "details"}}]}))
    pod, shown = mesh.pod("app=productpage"), list[Object]()

    def there() -> bool:
        mesh.get("/productpage")
        options = ("deploy/productpage-v1", "--since", "5m", "--no-follow", "--status", "503", "-o", "json")
        lines = [json.loads(line) for line in mesh.sailctl("tap", *options).splitlines()]
        shown[:] = [
            line for line in lines if (line["source"], line["flags"]) == (pod, "FI")
        ]  # not those of other tests
        return bool(shown)

    mesh.eventually(there)
    assert {(one["status"], one["details"]) for one in shown} == {(503, "fault_filter_abort")}
    mesh.kubectl("delete", "pod", pod)
    mesh.kubectl("wait", "--for=condition=Available", "deployment/productpage-v1", "--timeout=60s")
    earlier = mesh.sailctl("tap", "deploy/productpage-v1", "--since", "5m", "--no-follow", "--status", "503")
    assert earlier.count(f"{pod} → ") >= len(shown)
