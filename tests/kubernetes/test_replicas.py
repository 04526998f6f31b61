"""Several control planes: one writes and counts the proxies of all, another follows it, and requests do not notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import conftest
from .node import Node
from .requests import Requests
from .test_mesh import fetch

SYSTEM = ("-n", "istio-system")


@pytest.fixture
def replicas(mesh: Node, namespace: str) -> Iterator[Node]:
    """The cluster with two control planes; one again afterwards."""
    plane = mesh.control_plane

    def scale(number: int) -> None:
        conftest.sailctl(plane, "upgrade", "-y", "--set", f"values.pilot.replicaCount={number}")
        plane.kubectl("rollout", "status", *SYSTEM, "deployment/istiod", "--timeout=60s")

    scale(2)
    yield mesh
    scale(1)


def holder(mesh: Node) -> str:
    lease = mesh.control_plane.get(*SYSTEM, "lease/sailcloth-leader")
    return str(lease["spec"].get("holderIdentity") or "")


def counted(mesh: Node, namespace: str) -> str:
    """What the rule's status says of proxies."""
    rule = mesh.control_plane.get("-n", namespace, "virtualservice/server")
    (found,) = (c for c in rule["status"]["conditions"] if c["type"] == "Programmed")
    return str(found["message"])


def control_planes(mesh: Node) -> list[str]:
    """The pods that serve, and are not about to end."""
    pods = mesh.control_plane.get(*SYSTEM, "pods", "-l", "app=istiod")["items"]
    return sorted(p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"])


def test_the_writer_counts_the_proxies_of_all_replicas(replicas: Node, namespace: str) -> None:
    wait = replicas.processes.wait
    before = counted(replicas, namespace)
    assert before.startswith(("2/2", "3/3")), "the client, the server, perhaps a gateway"
    writer = holder(replicas)
    assert writer in control_planes(replicas)
    with Requests(lambda: fetch(replicas, namespace, "http://server/")) as requests:
        # Its proxies come back to either; the other one writes now.
        replicas.control_plane.kubectl("delete", *SYSTEM, "pod", writer, "--wait=false")
        wait("another writer", lambda: holder(replicas) not in ("", writer))
        wait("two control planes again", lambda: len(control_planes(replicas)) == 2)
        replicas.control_plane.kubectl("rollout", "status", *SYSTEM, "deployment/istiod", "--timeout=60s")
        wait("count of all", lambda: counted(replicas, namespace) == before)
    assert requests.failed == []
    assert requests.answers > 0


def test_a_writer_that_dies_is_replaced(replicas: Node, namespace: str) -> None:
    writer, before = holder(replicas), counted(replicas, namespace)
    with Requests(lambda: fetch(replicas, namespace, "http://server/")) as requests:
        replicas.control_plane.kubectl("delete", *SYSTEM, "pod", writer, "--grace-period=0", "--force")
        replicas.processes.wait("another writer", lambda: holder(replicas) not in ("", writer), seconds=40)
        replicas.processes.wait("count of all", lambda: counted(replicas, namespace) == before)
    assert requests.failed == []


def test_a_new_root_signs_when_the_proxies_of_all_trust_it(replicas: Node, namespace: str) -> None:
    """Without this a replica would wait ten minutes for proxies that are connected to the other one."""
    with Requests(lambda: fetch(replicas, namespace, "http://server/")) as requests:
        conftest.sailctl(replicas.control_plane, "ca", "rotate", "--wait", "--timeout", "90s")
    assert requests.failed == []
    assert requests.answers > 0
