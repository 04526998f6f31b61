"""Two TCP services outside Kubernetes on one port: told apart by addresses that the mesh gives and its agents answer."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .bookinfo import Cluster, Object

SAMPLES = Path(__file__).parents[2] / "samples" / "tcp-echo"
NAMESPACE = "names"
PORT = 7000
DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
    s.sendall(b"hello\\n")
    print(s.makefile().readline().strip())
"""
LOOK = """
import socket, sys
try:
    print(sorted({i[4][0] for i in socket.getaddrinfo(sys.argv[1], 80, getattr(socket, sys.argv[2]))}))
except socket.gaierror as error:
    print(error.args[0] == socket.EAI_NONAME or error.args[0] == socket.EAI_NODATA)
"""
ASK_OVER_TCP = """
import socket, struct, sys
name = b"".join(bytes([len(p)]) + p.encode() for p in sys.argv[1].split(".")) + b"\\0"
query = struct.pack(">HHHHHH", 9, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
with socket.create_connection(("10.96.0.10", 53), 5) as s:
    s.sendall(struct.pack(">H", len(query)) + query)
    stream = s.makefile("rb")
    (length,) = struct.unpack(">H", stream.read(2))
    answer = stream.read(length)
print(answer[3] & 15, struct.unpack(">H", answer[6:8])[0], socket.inet_ntoa(answer[-4:]))
"""


def entry(name: str, backend: str, **spec: object) -> Object:
    """A ServiceEntry for `<name>.example.com` without an address."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "hosts": [f"{name}.example.com"],
            "resolution": "DNS",
            "location": "MESH_EXTERNAL",
            "ports": [{"number": PORT, "name": "tcp", "protocol": "TCP", "targetPort": 9000}],
            "endpoints": [{"address": f"{backend}.outside.svc.cluster.local"}],
            **spec,
        },
    }


class Names:
    """A client whose names are captured, and two echoes outside of the mesh."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def run(self, code: str, *arguments: str) -> str:
        where = ("exec", "-n", NAMESPACE, "deploy/client", "-c", "client", "--", "python3", "-c", code)
        return self.cluster.kubectl(*where, *arguments).strip()

    def dial(self, host: str) -> str:
        try:
            return self.run(DIAL, host, str(PORT))
        except AssertionError as error:
            return str(error)

    def look(self, host: str, family: str = "AF_INET") -> str:
        return self.run(LOOK, host, family)

    def addresses(self, name: str) -> list[str]:
        found = json.loads(self.cluster.kubectl("get", "serviceentry", name, "-n", NAMESPACE, "-o", "json"))
        return [a["value"] for a in found.get("status", {}).get("addresses") or ()]


@pytest.fixture(scope="module")
def names(cluster: Cluster) -> Iterator[Names]:
    for namespace in ("outside", NAMESPACE):
        cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "namespace", NAMESPACE, "istio-injection=enabled")
    cluster.kubectl("apply", "-n", "outside", "-f", str(SAMPLES / "tcp-echo-versions.yaml"))
    for version in ("v1", "v2"):
        patch = json.dumps({"spec": {"selector": {"app": "tcp-echo", "version": version}}})
        made = ("create", "service", "clusterip", f"echo-{version}", "-n", "outside", "--tcp=9000:9000")
        cluster.kubectl(*made)
        cluster.kubectl("patch", "service", f"echo-{version}", "-n", "outside", "--type=merge", "-p", patch)
    options = json.dumps({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}})
    client = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "client", "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": "client"}},
            "template": {
                "metadata": {"labels": {"app": "client"}, "annotations": {"proxy.istio.io/config": options}},
                "spec": {"containers": [{"name": "client", "image": "alpine", "command": ["sleep", "100000"]}]},
            },
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(client))
    for namespace in ("outside", NAMESPACE):
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment", "--all", "--timeout=60s")
    for name, backend in (("first", "echo-v1"), ("second", "echo-v2")):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(entry(name, backend)))
    found = Names(cluster)
    cluster.eventually(lambda: found.dial("second.example.com") == "two hello")
    yield found
    for namespace in ("outside", NAMESPACE):
        cluster.kubectl("delete", "namespace", namespace)


def test_two_tcp_services_on_one_port_are_told_apart(names: Names) -> None:
    assert {names.dial("first.example.com") for _ in range(3)} == {"one hello"}
    assert {names.dial("second.example.com") for _ in range(3)} == {"two hello"}


def test_each_has_an_address_that_is_in_its_status_and_its_listeners(names: Names) -> None:
    first, second = names.addresses("first"), names.addresses("second")
    assert len({*first, *second}) == 4
    assert all(ipaddress.ip_address(a) in ipaddress.ip_network("240.240.0.0/16") for a in (first[0], second[0]))
    assert names.look("first.example.com") == str([first[0]])
    pod = names.cluster.kubectl("get", "pod", "-n", NAMESPACE, "-o", "jsonpath={.items[0].metadata.name}").strip()
    shown = names.cluster.sailctl("proxy-config", "listener", f"{pod}.{NAMESPACE}", "--port", str(PORT))
    told = names.cluster.sailctl("proxy-config", "dns", f"{pod}.{NAMESPACE}", "--fqdn", "second")
    assert told.split()[-2:] == ["second.example.com", second[0]]
    assert first[0] in shown
    assert second[0] in shown
    assert "0.0.0.0" not in shown


def test_what_is_known_has_an_answer_for_each_family_and_the_rest_is_the_resolvers(names: Names) -> None:
    assert names.look("first.example.com", "AF_INET6") == "True"
    assert names.look("echo-v1.outside.svc.cluster.local").startswith("['10.96.")
    assert names.look("nobody.outside.svc.cluster.local") == "True"
    assert names.look("client.example.invalid") == "True"
    code, count, address = names.run(ASK_OVER_TCP, "second.example.com").split()
    assert (code, count, address) == ("0", "1", names.addresses("second")[0])


IN_THE_BACKGROUND = """
import os, socket, sys, time
if os.fork():
    os._exit(0)
os.setsid()
for number in range(3):
    os.close(number)
count = failed = 0
while not os.path.exists("/tmp/enough"):
    try:
        assert socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)[0][4][0].startswith("240.240.")
    except (OSError, AssertionError):
        failed += 1
    count += 1
    with open("/tmp/looked.new", "w") as file:
        file.write(f"{count} {failed}")
    os.rename("/tmp/looked.new", "/tmp/looked")
    time.sleep(0.02)
"""


def test_names_resolve_while_the_node_process_restarts(names: Names) -> None:
    names.run(IN_THE_BACKGROUND, "first.example.com")

    def counts() -> tuple[int, int]:
        count, failed = names.run("print(open('/tmp/looked').read())").split()
        return int(count), int(failed)

    names.cluster.eventually(lambda: _answers(counts))
    for _ in range(3):
        names.cluster.kill("sailcloth.local.node")
        enough = _eventual(names, counts)[0] + 30
        names.cluster.eventually(lambda enough=enough: _eventual(names, counts)[0] >= enough)  # type: ignore[misc]
    assert _eventual(names, counts)[1] == 0
    names.run("open('/tmp/enough', 'w').close()")


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except AssertionError:  # commands in pods need the node's process
        return False
    return True


def _eventual(names: Names, ask: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    names.cluster.eventually(lambda: _answers(ask))
    return ask()


def test_addresses_outlive_the_control_plane_and_a_pod_that_does_not_capture_sees_none(names: Names) -> None:
    before = names.addresses("first")
    names.cluster.kill("sailcloth.controlplane")
    assert names.dial("first.example.com") == "one hello"
    names.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(entry("third", "echo-v1", resolution="DNS")))
    names.cluster.eventually(lambda: names.dial("third.example.com") == "one hello")
    assert names.addresses("first") == before
    names.cluster.kubectl("delete", "serviceentry", "third", "-n", NAMESPACE)
    names.cluster.eventually(lambda: names.look("third.example.com") == "True")
    plain = ("exec", "deploy/ratings-v1", "-c", "ratings", "--", "python3", "-c", LOOK, "first.example.com", "AF_INET")
    assert names.cluster.kubectl(*plain).strip() == "True"


def test_the_proxy_itself_finds_what_is_outside_and_not_its_own_listener(names: Names) -> None:
    """A ServiceEntry of the very name that the pod's resolver knows: the application is told the allocated address, Envoy the
    real one."""
    host = "hidden.outside.svc.cluster.local"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hidden", "namespace": "outside", "annotations": {"networking.istio.io/exportTo": "~"}},
        "spec": {"selector": {"app": "tcp-echo", "version": "v2"}, "ports": [{"port": PORT, "targetPort": 9000}]},
    }
    made = entry("hidden", "", hosts=[host], ports=[{"number": PORT, "name": "tcp", "protocol": "TCP"}])
    del made["spec"]["endpoints"]
    names.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(service))
    names.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    names.cluster.eventually(lambda: names.look(host).startswith("['240.240."))
    names.cluster.eventually(lambda: names.dial(host) == "two hello")
    names.cluster.kubectl("delete", "serviceentry", "hidden", "-n", NAMESPACE)
    names.cluster.eventually(lambda: names.look(host).startswith("['10.96."))


def test_the_agent_counts_what_it_answers_and_what_it_hands_on(names: Names) -> None:
    def counted() -> dict[str, int]:
        code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:15020/stats/prometheus').read().decode())"
        lines = [line.split() for line in names.run(code).splitlines() if line.startswith("istio_agent_dns_")]
        return {name: int(value) for name, value in lines}

    before = counted()
    names.look("first.example.com")
    names.look("nobody.example.invalid")
    after = counted()
    assert after["istio_agent_dns_requests_total"] > before["istio_agent_dns_requests_total"]
    assert after["istio_agent_dns_upstream_requests_total"] > before["istio_agent_dns_upstream_requests_total"]


def test_capture_for_the_whole_mesh_is_a_default_that_a_pod_may_refuse(names: Names) -> None:
    cluster = names.cluster
    before = json.loads(cluster.kubectl("get", "configmap", "istio", "-n", "istio-system", "-o", "json"))["data"]
    options = f"{before.get('mesh', '')}\ndefaultConfig: {{proxyMetadata: {{ISTIO_META_DNS_CAPTURE: 'true'}}}}\n"
    patch = ("patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p")
    ask = ("--dry-run=server", "-o", "json", "-f", "-")

    def variables(**annotations: str) -> list[str | None]:
        """The variable in each container of ours, of a pod that is injected now."""
        spec = {"containers": [{"name": "app", "image": "alpine"}]}
        metadata = {"name": "asked", "namespace": NAMESPACE, "annotations": annotations}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        made = json.loads(cluster.kubectl("create", *ask, stdin=json.dumps(pod)))
        every = [{e["name"]: e.get("value") for e in c.get("env", ())} for c in made["spec"]["initContainers"]]
        return [env.get("ISTIO_META_DNS_CAPTURE") for env in every]

    try:
        cluster.kubectl(*patch, json.dumps({"data": {"mesh": options}}))
        cluster.eventually(lambda: variables() == ["true", "true"])
        refused = json.dumps({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "false"}})
        assert variables(**{"proxy.istio.io/config": refused}) == ["false", "false"]
    finally:
        cluster.kubectl(*patch, json.dumps({"data": {"mesh": before.get("mesh")}}))
    cluster.eventually(lambda: variables() == [None, None])
