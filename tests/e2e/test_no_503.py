"""Traffic is never broken: requests without a pause through the gateway while the mesh changes under them."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from .bookinfo import Cluster, Load

Object = dict[str, Any]
ROUNDS = int(os.environ.get("SAILCLOTH_ROUNDS", "10"))


def rule(*subsets: str) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "reviews"},
        "spec": {"host": "reviews", "subsets": [{"name": f"new-{s}", "labels": {"version": s}} for s in subsets]},
    }


def service(subset: str) -> Object:
    destination = {"host": "reviews", "subset": f"new-{subset}"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews"},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": destination}]}]},
    }


def put(mesh: Cluster, obj: Object) -> None:
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))


def checked(load: Load) -> None:
    """Fails with what each Envoy on the way says about failed requests: its log has the response flags."""
    if load.bad:
        time.sleep(11)  # Envoy writes its log every ten seconds
        lines = []
        for pod in load.cluster.kubectl("get", "pods", "-l", "app in (productpage, reviews)", "-o", "name").split():
            log = load.cluster.kubectl("logs", pod, "-c", "istio-proxy")
            lines += [f"{pod} {line[:400]}" for line in log.splitlines() if '" 503 ' in line or " UH " in line][-5:]
            lines += [
                f"{pod} {line}"
                for line in load.cluster.kubectl("logs", pod, "--tail=-1").splitlines()
                if "Error" in line
            ][-5:]
        raise AssertionError("\n".join([str(load.counts), *load.bad[:5], *lines]))
    assert load.counts == {"200": load.total}


def test_rules_for_new_subsets_in_either_order(mesh: Cluster) -> None:
    mesh.kubectl("delete", "destinationrule", "reviews")
    # the page hides what reviews answers, so the rating's path is asked through the gateway itself
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
            if load.bad:
                break  # before Envoy's log of it is rotated away
        load.until(1000)
    checked(load)


def test_rollout_and_scale(mesh: Cluster) -> None:
    with Load(mesh, "/api/v1/products/0/reviews") as load:
        load.until(100)
        mesh.kubectl("scale", "deployment/reviews-v1", "--replicas=4")
        mesh.kubectl("rollout", "status", "deployment/reviews-v1", "--timeout=30s")
        mesh.kubectl("rollout", "restart", "deployment/reviews-v1")
        mesh.kubectl("rollout", "status", "deployment/reviews-v1", "--timeout=60s")
        mesh.kubectl("scale", "deployment/reviews-v1", "--replicas=1")
        mesh.eventually(lambda: len(_pods(mesh, "app=reviews,version=v1")) == 1, 40)
        load.until(1000)
    checked(load)


def _pods(mesh: Cluster, label: str) -> list[str]:
    return mesh.kubectl("get", "pods", "-l", label, "-o", "name").split()


def test_the_control_plane_is_killed(mesh: Cluster) -> None:
    with Load(mesh) as load:
        load.until(50)
        for _ in range(5):  # for so long that proxies which wait longer each time would come back late
            mesh.kill("sailcloth.controlplane")
        mesh.apply("virtual-service-all-v1.yaml")  # and it answers again
        mesh.eventually(lambda: set(mesh.share(5)) == {"v1"})
        load.until(500)
    checked(load)


def test_certificates_rotate_under_load(state: Path) -> None:
    cluster = Cluster(state)
    cluster.start("--workload-cert-ttl", "6s")
    pod = cluster.pod("app=ratings")
    first = cluster.sailctl("proxy-config", "secret", pod)
    with Load(cluster, "/api/v1/products/0/reviews") as load:
        begin = time.monotonic()
        cluster.eventually(lambda: time.monotonic() - begin > 14, 30)  # more than two lifetimes
        load.until(500)
    checked(load)
    assert cluster.sailctl("proxy-config", "secret", pod) != first
