"""Small sidecars: clusters come on first use, nothing fails or waits noticeably because of it, and nothing goes stale."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from .bookinfo import Cluster, Load
from .test_no_503 import ROUNDS, checked, put, rule, service

Object = dict[str, Any]
NS = "small"
ANNOTATION = {"sailcloth.io/clusters": "on-demand"}
NOTICEABLE_S = 1.0  # tests share their processors; benchmarks measure


def caller(name: str) -> Object:
    labels = {"app": name}
    container = {"name": "curl", "image": "curlimages/curl", "command": ["sleep", "infinity"]}
    template = {"metadata": {"labels": labels, "annotations": ANNOTATION}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NS},
        "spec": spec,
    }


class Caller:
    """A deployment of its own: what one test has called is not in advance for the next."""

    def __init__(self, mesh: Cluster, name: str) -> None:
        self.mesh, self.name = mesh, name
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(caller(name)))
        self.ready()

    def ready(self) -> None:
        self.mesh.kubectl("rollout", "status", f"deployment/{self.name}", "-n", NS, "--timeout=60s")

    def get(self, *arguments: str) -> tuple[str, float]:
        """(status, seconds) of one request from inside."""
        form = "%{http_code} %{time_total}"
        command = (
            "exec",
            f"deploy/{self.name}",
            "-n",
            NS,
            "-c",
            "curl",
            "--",
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            form,
        )
        status, seconds = self.mesh.kubectl(*command, *arguments).split()
        return status, float(seconds)

    def clusters(self) -> set[str]:
        """The outbound clusters that the proxy has, but for the one that it sends spans to."""
        pod = self.pods()[0]
        found = json.loads(self.mesh.sailctl("proxy-config", "cluster", f"{pod}.{NS}", "-o", "json"))
        names = [c["name"] for c in found]
        assert "PassthroughCluster" in names
        return {n for n in names if n.startswith("outbound|") and "|zipkin." not in n.replace("||", "|")}

    def pods(self) -> list[str]:
        path = "jsonpath={.items[*].metadata.name}"
        return self.mesh.kubectl("get", "pods", "-n", NS, "-l", f"app={self.name}", "-o", path).split()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[None]:
    cluster.kubectl("create", "namespace", NS)
    cluster.kubectl("label", "namespace", NS, "istio-injection=enabled")
    yield
    cluster.kubectl("delete", "namespace", NS)


@pytest.fixture
def small(cluster: Cluster, namespace: None, request: pytest.FixtureRequest) -> Iterator[Caller]:
    made = Caller(cluster, f"caller-{zlib.crc32(request.node.name.encode()):x}")
    yield made
    cluster.kubectl("delete", "deployment", made.name, "-n", NS)


def test_a_cluster_comes_with_the_first_request_and_only_that(small: Caller) -> None:
    assert small.clusters() == set()
    status, seconds = small.get("http://reviews.default:9080/reviews/0")
    assert status == "200"
    assert seconds < NOTICEABLE_S
    assert small.clusters() == {"outbound|9080||reviews.default.svc.cluster.local"}


def test_hosts_that_nobody_knows_are_not_waited_for(small: Caller) -> None:
    ip = small.mesh.kubectl("get", "pod", "-l", "app=details", "-o", "jsonpath={.items[0].status.podIP}")
    for host in ("nobody.example.com", "another.example.com"):
        status, seconds = small.get("-H", f"Host: {host}", f"http://{ip}:9080/details/0")
        assert status == "200"
        assert seconds < NOTICEABLE_S


def test_a_connection_that_is_not_http_waits_for_its_cluster_too(small: Caller) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "raw", "namespace": NS},
        "spec": {"selector": {"app": "details"}, "ports": [{"name": "tcp", "port": 7000, "targetPort": 9080}]},
    }
    details = json.loads(small.mesh.kubectl("get", "pod", "-l", "app=details", "-o", "json"))["items"][0]
    del manifest["spec"]["selector"]
    small.mesh.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "raw-1", "namespace": NS, "labels": {"kubernetes.io/service-name": "raw"}},
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "port": 9080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [details["status"]["podIP"]], "conditions": {"ready": True}}],
    }
    small.mesh.kubectl("apply", "-f", "-", stdin=json.dumps(endpoints))
    small.mesh.eventually(lambda: small.get("http://raw:7000/details/0")[0] == "200")
    assert f"outbound|7000||raw.{NS}.svc.cluster.local" in small.clusters()


def test_a_new_pod_has_what_those_before_it_asked_for(small: Caller) -> None:
    small.get("http://reviews.default:9080/reviews/0")
    used = small.clusters()
    small.mesh.kubectl("rollout", "restart", f"deployment/{small.name}", "-n", NS)
    small.ready()
    small.mesh.eventually(lambda: len(small.pods()) == 1, 40)
    assert used <= small.clusters()


def test_what_was_called_is_suggested_as_a_sidecar_that_lets_it_through(small: Caller) -> None:
    small.get("http://reviews.default:9080/reviews/0")
    text = small.mesh.sailctl("x", "scope", f"deployment/{small.name}", "-n", NS)
    assert "default/reviews.default.svc.cluster.local" in text
    small.mesh.kubectl("apply", "-f", "-", stdin=text)
    small.mesh.eventually(lambda: small.get("http://reviews.default:9080/reviews/0")[0] == "200")
    small.mesh.kubectl("delete", "sidecar", small.name, "-n", NS)


def test_mirrors_and_what_a_sidecar_names_are_there_before(small: Caller) -> None:
    mirrored = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": NS},
        "spec": {
            "hosts": ["reviews.default.svc.cluster.local"],
            "http": [
                {
                    "route": [{"destination": {"host": "reviews.default.svc.cluster.local"}}],
                    "mirror": {"host": "ratings.default.svc.cluster.local"},
                }
            ],
        },
    }
    wanted = "outbound|9080||ratings.default.svc.cluster.local"
    small.mesh.kubectl("apply", "-f", "-", stdin=json.dumps(mirrored))
    small.mesh.eventually(lambda: wanted in small.clusters())
    small.mesh.kubectl("delete", "virtualservice", "reviews", "-n", NS)
    declared = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": "default", "namespace": NS},
        "spec": {"egress": [{"hosts": ["*/*", "default/productpage.default.svc.cluster.local"]}]},
    }
    small.mesh.kubectl("apply", "-f", "-", stdin=json.dumps(declared))
    small.mesh.eventually(lambda: "outbound|9080||productpage.default.svc.cluster.local" in small.clusters())
    small.mesh.kubectl("delete", "sidecar", "default", "-n", NS)


def test_rules_for_new_subsets_do_not_break_traffic(mesh: Cluster) -> None:
    """As with all clusters pushed, for a caller that has asked for what it uses."""
    annotate = {"spec": {"template": {"metadata": {"annotations": ANNOTATION}}}}
    plain = {"spec": {"template": {"metadata": {"annotations": dict.fromkeys(ANNOTATION)}}}}
    patch = ("patch", "deployment", "productpage-v1", "--type=merge", "-p")
    mesh.kubectl(*patch, json.dumps(annotate))
    mesh.kubectl("rollout", "status", "deployment/productpage-v1", "--timeout=60s")
    mesh.kubectl("delete", "destinationrule", "reviews")
    try:
        with Load(mesh, "/api/v1/products/0/reviews") as load:
            load.until(100)
            for number, subset in zip(range(ROUNDS), itertools.cycle(["v1", "v2", "v3"]), strict=False):
                made = [rule(subset), service(subset)]
                for obj in made if number % 2 else reversed(made):
                    put(mesh, obj)
                mesh.applied("virtualservice.networking.istio.io/reviews")
                names = ["virtualservice/reviews", "destinationrule/reviews"]
                for name in names if number % 4 < 2 else reversed(names):
                    mesh.kubectl("delete", name)
            load.until(1000)
        checked(load)
    finally:
        mesh.kubectl(*patch, json.dumps(plain))
        mesh.kubectl("rollout", "status", "deployment/productpage-v1", "--timeout=60s")
