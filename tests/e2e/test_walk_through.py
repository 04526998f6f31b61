"""The published Bookinfo walk-through over real HTTP: what its readers see on the page, and what kubectl tells them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from .bookinfo import Answer, Cluster, to, virtual_service

Object = dict[str, Any]
PUBLISHED = Path(__file__).parents[3] / "shared" / "cases" / "samples" / "istio" / "bookinfo"


def test_every_pod_has_its_sidecar(cluster: Cluster) -> None:
    pods = json.loads(cluster.kubectl("get", "pods", "-o", "json"))["items"]
    assert len(pods) == 6
    for pod in pods:
        names = [c["name"] for c in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]]
        assert "istio-proxy" in names
        ready = [c["ready"] for c in pod["status"]["containerStatuses"]]
        assert all(ready)
        assert len(pod["status"]["podIP"].split(".")) == 4


def test_without_rules_all_versions_answer(mesh: Cluster) -> None:
    assert set(mesh.share(40)) == {"v1", "v2", "v3"}


def test_all_requests_to_v1(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml")
    assert set(mesh.share(20)) == {"v1"}


def test_a_user_is_sent_to_v2(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml", "virtual-service-reviews-test-v2.yaml")
    assert set(mesh.share(10, user="jason")) == {"v2"}
    assert set(mesh.share(10, user="tom")) == {"v1"}
    assert set(mesh.share(10)) == {"v1"}


def test_half_of_the_requests_to_v3(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml", "virtual-service-reviews-50-v3.yaml")
    share = mesh.share(200)
    assert set(share) == {"v1", "v3"}
    assert 60 <= share["v3"] <= 140  # 5.6 standard deviations


def test_canary_by_weight(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml", "virtual-service-reviews-90-10.yaml")
    share = mesh.share(200)
    assert set(share) <= {"v1", "v2"}
    assert 2 <= share["v2"] <= 48
    mesh.apply("virtual-service-reviews-v3.yaml")
    assert set(mesh.share(20)) == {"v3"}


def test_delay_on_ratings_for_one_user(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml", "virtual-service-reviews-test-v2.yaml")
    mesh.apply("virtual-service-ratings-test-delay.yaml")
    slow, quick = mesh.get("/productpage", "jason"), mesh.get("/productpage")
    assert 5.9 <= slow.took_s <= 7.5  # the page gives each of two tries three seconds
    assert "currently unavailable" in slow.body
    assert quick.took_s < 2
    assert "entertaining play" in quick.body


def test_abort_on_ratings_for_one_user(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml", "virtual-service-reviews-test-v2.yaml")
    mesh.apply("virtual-service-ratings-test-abort.yaml")
    assert "Ratings service is currently unavailable" in mesh.get("/productpage", "jason").body
    assert "Ratings service is currently unavailable" not in mesh.get("/productpage").body


def test_timeout_of_reviews_and_its_retries(mesh: Cluster) -> None:
    delay = {"delay": {"fixedDelay": "2s", "percentage": {"value": 100}}}
    mesh.apply(
        virtual_service("ratings", {"fault": delay, "route": [to("ratings", "v1")]}),
        virtual_service("reviews", {"route": [to("reviews", "v2")], "timeout": "0.5s"}),
    )
    found = mesh.get("/productpage")
    assert "currently unavailable" in found.body
    assert 0.9 <= found.took_s <= 1.9  # two tries of the page, half a second each
    mesh.apply(
        virtual_service(
            "reviews",
            {
                "route": [to("reviews", "v2")],
                "timeout": "10s",
                "retries": {"attempts": 2, "perTryTimeout": "0.3s", "retryOn": "gateway-error"},
            },
        )
    )
    found = mesh.get("/productpage")
    assert "currently unavailable" in found.body
    assert 1.7 <= found.took_s <= 3  # two tries of the page, each of three attempts


def test_mirror_sends_a_copy(mesh: Cluster) -> None:
    # an answer of v1 alone, while v2's sidecar counts the copies
    mesh.apply(
        virtual_service(
            "reviews",
            {
                "route": [to("reviews", "v1")],
                "mirror": {"host": "reviews", "subset": "v2"},
                "mirrorPercentage": {"value": 100},
            },
        )
    )
    pod = mesh.pod("app=reviews,version=v2")
    before = _inbound(mesh, pod)
    assert set(mesh.share(20)) == {"v1"}
    mesh.eventually(lambda: _inbound(mesh, pod) - before >= 20, 25)  # Envoy writes its log every ten seconds


def _inbound(mesh: Cluster, pod: str) -> int:
    """Requests that a pod's sidecar has let in, by its access log."""
    return mesh.kubectl("logs", pod, "-c", "istio-proxy").count('"GET /reviews/0')


def _fetch(url: str) -> list[str]:
    code = "import sys,urllib.request as u;sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"
    return ["python3", "-c", code, url]


def test_ingress_serves_only_what_the_gateway_says(mesh: Cluster) -> None:
    assert mesh.get("/productpage").status == 200
    assert mesh.get("/api/v1/products").status == 200
    missing: Answer = mesh.get("/no-such-path")
    assert missing.status == 404
    assert mesh.get("/productpage").headers["server"] == "istio-envoy"


def test_header_operations_rewrite_and_redirect(mesh: Cluster) -> None:
    service = virtual_service(
        "bookinfo",
        {
            "match": [{"uri": {"prefix": "/shop/"}}],
            "rewrite": {"uri": "/"},
            "route": [to("productpage")],
            "headers": {"response": {"set": {"x-served-by": "bookinfo"}, "remove": ["content-type"]}},
        },
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/productpage", "redirectCode": 302}},
        {"route": [to("productpage")]},
        hosts=["*"],
        gateways=["bookinfo-gateway"],
    )
    mesh.apply(service)
    found = mesh.get("/shop/productpage")
    assert found.status == 200
    assert found.headers["x-served-by"] == "bookinfo"
    assert "content-type" not in found.headers
    moved = mesh.get("/old")
    assert (moved.status, moved.headers["location"].rpartition("/")[2]) == (302, "productpage")


def test_status_says_where_a_rule_is(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml")
    found = json.loads(mesh.kubectl("get", "virtualservice", "reviews", "-o", "json"))
    conditions = {c["type"]: c for c in found["status"]["conditions"]}
    assert conditions["Accepted"]["status"] == "True"
    assert re.search(r"\d+/\d+ proxies", conditions["Programmed"]["message"])


def test_a_rule_to_nowhere_says_so_and_hurts_nobody(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml")
    broken = virtual_service("reviews", {"route": [to("reviews", "v9")]})
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(broken))

    def refused() -> bool:
        found = json.loads(mesh.kubectl("get", "virtualservice", "reviews", "-o", "json"))
        accepted = {c["type"]: c for c in found["status"]["conditions"]}["Accepted"]
        return accepted["status"] == "False" and "v9" in accepted["message"]

    mesh.eventually(refused)
    assert set(mesh.share(10)) == {"v1"}


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published samples are not at hand")
def test_published_manifests_apply_unchanged(mesh: Cluster) -> None:
    folder = PUBLISHED / "networking"
    unknown = ("certmanager", "egress-rule")
    files = [f for f in sorted(folder.glob("*.yaml")) if not f.name.startswith(unknown)]
    assert len(files) > 15
    for file in files:
        mesh.kubectl("apply", "-f", str(file))
    mesh.kubectl("apply", "-f", str(PUBLISHED / "platform" / "kube" / "bookinfo.yaml"))
    for name in ("details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"):
        mesh.kubectl("rollout", "status", f"deployment/{name}", "--timeout=30s")
    for file in files:
        for obj in yaml.safe_load_all(file.read_text()):
            if obj:
                mesh.kubectl("get", obj["kind"] + ".networking.istio.io", obj["metadata"]["name"])


def test_proxy_commands_show_the_live_configuration(mesh: Cluster) -> None:
    mesh.apply("virtual-service-all-v1.yaml")
    pod = mesh.pod("app=productpage")
    mesh.eventually(lambda: len(mesh.sailctl("proxy-status").splitlines()) == 8)  # six applications, the gateway
    assert "reviews.default.svc.cluster.local" in mesh.sailctl("proxy-config", "cluster", pod)
    assert "reviews.default" in mesh.sailctl("proxy-config", "route", pod, "--name", "9080")
    assert "0.0.0.0" in mesh.sailctl("proxy-config", "listener", f"{pod}.default")
    same = ["Clusters Match", "Listeners Match", "Routes Match"]
    mesh.eventually(lambda: mesh.sailctl("proxy-status", pod).splitlines() == same)
    assert "HEALTHY" in mesh.sailctl("proxy-config", "endpoint", "deployment/productpage-v1")
    assert "ROOTCA" in mesh.sailctl("proxy-config", "secret", pod)
    assert json.loads(mesh.sailctl("proxy-config", "bootstrap", pod, "-o", "json"))


def test_mutual_tls_between_sidecars_and_plain_text_from_outside(mesh: Cluster) -> None:
    """PERMISSIVE: the caller's verified identity reaches the application; a caller without a sidecar is served, too."""
    labels = {"app": "httpbin"}
    container = {"name": "httpbin", "image": "docker.io/mccutchen/go-httpbin", "ports": [{"containerPort": 8080}]}
    metadata = {"name": "httpbin", "labels": labels}
    service = {"selector": labels, "ports": [{"name": "http", "port": 8000, "targetPort": 8080}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    objects = [pod, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}]
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    try:
        mesh.kubectl("wait", "--for=condition=Ready", "pod/httpbin", "--timeout=15s")
        ask = _fetch("http://httpbin:8000/headers")
        caller = mesh.pod("app=productpage")

        def caller_is_known() -> bool:
            got = mesh.kubectl("exec", caller, "-c", "productpage", "--", *ask)
            return "URI=spiffe://cluster.local/ns/default/sa/bookinfo-productpage" in got

        mesh.eventually(caller_is_known)
        ip = mesh.kubectl("get", "pod", "httpbin", "-o", "jsonpath={.status.podIP}")
        ratings = mesh.pod("app=ratings")
        direct = _fetch(f"http://{ip}:8080/headers")  # by address: passed through as it is
        assert "spiffe://" not in mesh.kubectl("exec", ratings, "-c", "ratings", "--", *direct)
    finally:
        mesh.kubectl("delete", "pod/httpbin", "service/httpbin")


def test_a_pod_without_sidecar_reaches_services(mesh: Cluster) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "labels": {"sidecar.istio.io/inject": "false"}},
        "spec": {"containers": [{"name": "curl", "image": "curlimages/curl", "command": ["sleep", "600"]}]},
    }
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    try:
        mesh.kubectl("wait", "--for=condition=Ready", "pod/plain", "--timeout=15s")
        got = mesh.kubectl("exec", "plain", "--", *_fetch("http://ratings:9080/ratings/0"))
        assert json.loads(got)["ratings"]
    finally:
        mesh.kubectl("delete", "pod", "plain", "--wait=true")


def test_service_entry_names_an_outside_host(mesh: Cluster) -> None:
    """A host of the ServiceEntry's own, with a static address: another pod's application port."""
    ip = mesh.kubectl("get", "endpoints", "details", "-o", "jsonpath={.subsets[0].addresses[0].ip}")
    entry = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "outside"},
        "spec": {
            "hosts": ["details.example.com"],
            "location": "MESH_EXTERNAL",
            "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": ip}],
        },
    }
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(entry))
    service = virtual_service(
        "outside",
        {"match": [{"uri": {"prefix": "/details/"}}], "route": [to("details.example.com")]},
        {"route": [to("productpage")]},
        hosts=["*"],
        gateways=["bookinfo-gateway"],
    )
    mesh.kubectl("delete", "virtualservice", "bookinfo")
    mesh.apply(service)
    found = mesh.get("/details/0")
    assert found.status == 200
    assert json.loads(found.body)["author"]


def test_logs_follow_and_describe(mesh: Cluster) -> None:
    begin = time.monotonic()
    pod = mesh.pod("app=ratings")
    mesh.get("/productpage")
    assert "listening" in mesh.kubectl("logs", pod, "-c", "ratings")
    described = mesh.kubectl("describe", "pod", pod)
    assert "istio-proxy" in described
    assert time.monotonic() - begin < 30


def test_two_rules_for_one_host_are_joined_and_the_loser_is_told(mesh: Cluster) -> None:
    mesh.apply(virtual_service("reviews", {"route": [to("reviews", "v1")]}))
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("reviews", "v2")]}
    time.sleep(1.1)  # ages are whole seconds
    newer = virtual_service("reviews", jason, {"route": [to("reviews", "v3")]})
    newer["metadata"]["name"] = "reviews-newer"
    mesh.apply(newer)
    assert mesh.reviews("jason") == "v2"
    assert set(mesh.share(6)) == {"v1"}
    told = mesh.kubectl(
        "get", "vs", "reviews-newer", "-o", "jsonpath={.status.conditions[?(@.type=='Accepted')].message}"
    )
    assert "older VirtualService default/reviews" in told
    mesh.kubectl("delete", "vs", "reviews")
    mesh.eventually(lambda: set(mesh.share(3)) == {"v3"})
