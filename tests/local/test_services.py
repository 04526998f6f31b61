"""Services that are not the plain kind, each by a real request from a pod: affinity, other names, no address, endpoints made by hand."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sailcloth.kube.client import Client
from sailcloth.kube.resources import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES
from sailcloth.local.node import routing

from .local_cluster import Object, in_time
from .pods import make, ready, run_command

SERVER = (
    "import http.server, socket\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    " def do_GET(self):\n"
    "  self.send_response(200); self.end_headers(); self.wfile.write((socket.gethostname() + '\\n').encode())\n"
    " def log_message(self, *a): pass\n"
    "http.server.ThreadingHTTPServer(('', 8080), H).serve_forever()\n"
)
ASK = (
    "import sys, urllib.request\n"
    "for _ in range(int(sys.argv[2])):\n"
    " print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode().strip())\n"
)


def server(name: str, hostname: str = "") -> Object:
    main = {
        "name": "main",
        "image": "busybox",
        "command": [sys.executable, "-I", "-S", "-c", SERVER],
        "ports": [{"containerPort": 8080, "name": "web"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec: Object = {"containers": [main], "terminationGracePeriodSeconds": 0}
    if hostname:
        spec |= {"hostname": hostname, "subdomain": "headless"}
    return {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}


async def service(client: Client, namespace: str, name: str, **spec: Any) -> None:
    whole = {"ports": [{"port": 80, "targetPort": "web", "name": "http"}], **spec}
    await client.create(SERVICES, {"metadata": {"name": name, "namespace": namespace}, "spec": whole})


async def ask(client: Client, namespace: str, url: str, times: int = 1) -> list[str]:
    argv = (sys.executable, "-I", "-S", "-c", ASK, url, str(times))
    _, out = await run_command(client, namespace, "one", *argv)
    return out.split()


@pytest.fixture
async def servers(client: Client, namespace: str) -> None:
    for name in ("one", "two", "three"):
        await make(client, namespace, server(name, name))
    for name in ("one", "two", "three"):
        await ready(client, namespace, name)


async def served(client: Client, namespace: str, url: str, wanted: set[str], times: int = 30) -> None:
    async def ask_them() -> bool:
        return set(await ask(client, namespace, url, times)) == wanted

    await in_time(f"{url} is answered by {sorted(wanted)}", ask_them)


async def test_a_client_sticks_to_one_endpoint_if_asked_to(client: Client, namespace: str, servers: None) -> None:
    await service(client, namespace, "any", selector={"app": "web"})
    await service(client, namespace, "sticky", selector={"app": "web"}, sessionAffinity="ClientIP")
    await served(client, namespace, "http://any", {"one", "two", "three"}, 60)

    async def answered() -> bool:
        return len(set(await ask(client, namespace, "http://sticky", 30))) == 1

    await in_time("all requests to the sticky service reach one pod", answered)


async def test_names_of_a_service_without_an_address(client: Client, namespace: str, servers: None) -> None:
    await service(client, namespace, "headless", selector={"app": "web"}, clusterIP="None")
    await served(client, namespace, "http://two.headless:8080", {"two"}, 3)
    code = "import socket; print(len({a[4][0] for a in socket.getaddrinfo('headless', 80)}))"

    async def three() -> bool:
        return (await run_command(client, namespace, "one", sys.executable, "-I", "-S", "-c", code))[1] == "3\n"

    await in_time("the headless name has three addresses", three)


async def test_a_service_that_is_another_name(client: Client, namespace: str, servers: None) -> None:
    await service(client, namespace, "any", selector={"app": "web"})
    name = f"any.{namespace}.svc.cluster.local"
    await service(client, namespace, "other", type="ExternalName", externalName=name, ports=None)
    await served(client, namespace, "http://other", {"one", "two", "three"}, 60)


async def test_endpoints_made_by_hand(client: Client, namespace: str, servers: None) -> None:
    addresses = {n: (await client.get(PODS, n, namespace))["status"]["podIP"] for n in ("two", "three")}
    await service(client, namespace, "slices", ports=[{"port": 80, "name": "http"}])
    by_hand = {
        "metadata": {"name": "mine", "namespace": namespace, "labels": {"kubernetes.io/service-name": "slices"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [addresses["two"]]}],
        "ports": [{"name": "http", "port": 8080}],
    }
    await client.create(ENDPOINTSLICES, by_hand)
    odd = {**by_hand, "addressType": "FQDN", "endpoints": [{"addresses": ["elsewhere.example.com"]}]}
    await client.create(ENDPOINTSLICES, {**odd, "metadata": {**by_hand["metadata"], "name": "odd"}})
    await served(client, namespace, "http://slices", {"two"}, 3)

    await service(client, namespace, "older", ports=[{"port": 80, "name": "http"}])
    subsets = [{"addresses": [{"ip": addresses["three"]}], "ports": [{"name": "http", "port": 8080}]}]
    older = {"metadata": {"name": "older", "namespace": namespace}, "subsets": subsets}
    await client.create(ENDPOINTS, older)
    await served(client, namespace, "http://older", {"three"}, 3)
    subsets[0]["addresses"] = [{"ip": addresses["two"]}]
    await client.patch(ENDPOINTS, "older", namespace, {"subsets": subsets}, type="merge")
    await served(client, namespace, "http://older", {"two"}, 3)
    await client.delete(ENDPOINTS, "older", namespace)

    async def mirrored() -> bool:
        found, _ = await client.list(ENDPOINTSLICES, namespace)
        return not any(s["metadata"]["name"].startswith("older") for s in found)

    await in_time("the slices go with the Endpoints", mirrored)


def test_what_cannot_be_served_leaves_the_rest_alone() -> None:
    def slices(kind: str, address: str) -> Object:
        return {
            "metadata": {"labels": {"kubernetes.io/service-name": "a"}},
            "addressType": kind,
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "", "port": 1}],
        }

    ports = [{"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "SCTP"}]
    services = {("n", "a"): {"spec": {"clusterIP": "10.96.0.9", "ports": ports}}}
    found = routing.compute(services, {("n", "4"): slices("IPv4", "10.0.0.1"), ("n", "6"): slices("IPv6", "fd00::1")})
    assert found.rules == {("10.96.0.9", "TCP", 1): ((("10.0.0.1", 1),), False)}


def test_a_load_balancer_is_reached_at_its_own_address_alone() -> None:
    def balancer(cluster_ip: str, *addresses: str, kind: str = "LoadBalancer") -> Object:
        ingress = [{"ip": a} for a in addresses]
        ports = [{"port": 53, "protocol": "UDP"}]
        return {
            "spec": {"clusterIP": cluster_ip, "type": kind, "ports": ports},
            "status": {"loadBalancer": {"ingress": ingress}},
        }

    services = {
        ("n", "a"): balancer("10.96.0.9", "127.40.0.1"),
        ("n", "b"): balancer("10.96.0.8", "127.40.0.1", "10.96.0.9"),
        ("n", "c"): balancer("10.96.0.7", "127.40.0.2", kind="ClusterIP"),
    }
    slices = {("n", n): {**_slice(n), "endpoints": [{"addresses": [f"10.0.0.{i}"]}]} for i, n in enumerate("abc")}
    rules = routing.compute(services, slices).rules
    assert {address: ends[0][0] for (address, _, _), (ends, _) in rules.items()} == {
        "10.96.0.9": "10.0.0.0",
        "127.40.0.1": "10.0.0.0",
        "10.96.0.8": "10.0.0.1",
        "10.96.0.7": "10.0.0.2",
    }


def _slice(service: str) -> Object:
    return {
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "", "port": 5353, "protocol": "UDP"}],
    }
