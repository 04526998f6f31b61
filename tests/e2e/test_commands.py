"""`sailctl wait`, `dashboard` and `completion` as their user has them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from .bookinfo import Cluster, Object


def service(name: str, subset: str = "") -> Object:
    destination = {"host": "reviews", **({"subset": subset} if subset else {})}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": destination}]}]},
    }


def run(mesh: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*Cluster.SAILCTL, *arguments], capture_output=True, text=True, env=mesh.environment, timeout=60, check=False
    )


def test_wait_returns_when_every_proxy_has_it(mesh: Cluster) -> None:
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(service("reviews")))
    done = run(mesh, "wait", "virtualservice", "reviews")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"virtualservice/reviews\.default Programmed: (\d+)/\1 proxies\n", done.stdout)
    assert run(mesh, "x", "wait", "--for=distribution", "vs", "reviews.default").returncode == 0
    assert run(mesh, "wait", "vs/reviews", "dr/reviews", "--for", "accepted").returncode == 0
    found = json.loads(run(mesh, "wait", "-A", "-o", "json").stdout)
    assert {"virtualservice/bookinfo.default", "destinationrule/details.default"} <= {e["object"] for e in found}
    assert all(e["ok"] for e in found)


def test_wait_says_what_holds_an_object_back(mesh: Cluster) -> None:
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(service("reviews", "nosuch")))
    done = run(mesh, "wait", "vs", "reviews", "--timeout", "1s")
    assert done.returncode == 1
    assert "virtualservice/reviews.default is not ready" in done.stderr
    assert "nosuch" in done.stderr
    assert run(mesh, "wait", "vs", "absent", "--timeout", "0").returncode == 1


def test_wait_for_deletion(mesh: Cluster) -> None:
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(service("reviews")))
    assert run(mesh, "wait", "vs", "reviews", "--for", "delete", "--timeout", "300ms").returncode == 1
    mesh.kubectl("delete", "vs", "reviews")
    assert run(mesh, "wait", "vs", "reviews", "--for", "delete").returncode == 0


def test_describe(mesh: Cluster) -> None:
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(service("reviews", "v3")))
    done = run(mesh, "x", "describe", "pod", "deployment/reviews-v3")
    assert done.returncode == 0, done.stderr
    for line in (
        "   Proxy: sidecar",
        "   port 9080: PERMISSIVE (default)",
        "      Clients in default: mutual TLS (auto mTLS)",
        "      Matching subsets: v3",
        "      http[0]: 100 % of every request (to reviews.default.svc.cluster.local subset v3)",
    ):
        assert line in done.stdout.splitlines(), done.stdout
    assert re.search(r"Certificate: serial [0-9a-f]+, ends 20", done.stdout)
    other = run(mesh, "x", "describe", "pod", "deployment/reviews-v1").stdout
    assert "Warning: no route of VirtualService default/reviews (mesh) leads to this pod" in other
    shown = json.loads(run(mesh, "x", "describe", "svc", "productpage.default", "-o", "json").stdout)
    assert [e["gateway"] for e in shown["service"]["gateways"]] == ["default/bookinfo-gateway"]
    assert run(mesh, "x", "describe", "pod", "absent").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", "describe", "pod", "x", "-o", "tables"), "unknown output"),
        (("wait", "pod", "x"), "no kind that reports"),
        (("wait", "vs", "x", "--for", "ever"), "unknown condition"),
        (("wait", "vs", "x", "--timeout", "soon"), "not a duration"),
        (("completion", "tcsh"), "unknown shell"),
    ],
)
def test_wrong_arguments_end_with_64(mesh: Cluster, arguments: tuple[str, ...], words: str) -> None:
    done = run(mesh, *arguments)
    assert done.returncode == 64
    assert words in done.stderr


def test_dashboard_serves_the_admin_page_of_a_pod(mesh: Cluster) -> None:
    command = [*Cluster.SAILCTL, "dashboard", "envoy", "deployment/productpage-v1", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=mesh.environment) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            for _ in range(2):
                with urllib.request.urlopen(f"{address}/server_info", timeout=10) as answer:
                    assert json.load(answer)["state"] == "LIVE"
        finally:
            process.send_signal(signal.SIGTERM)
    assert "absent" in run(mesh, "dashboard", "envoy", "absent", "--no-browser").stderr


def test_completion_offers_live_pods(mesh: Cluster) -> None:
    script = run(mesh, "completion", "bash").stdout
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    asked = {
        "_SAILCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": "sailctl proxy-config route details",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        Cluster.SAILCTL, capture_output=True, text=True, env={**mesh.environment, **asked}, timeout=20, check=False
    )
    assert re.fullmatch(r"details-v1-\S+\.default\n?", done.stdout), (done.stdout, done.stderr)
    empty = {**os.environ, **asked, "KUBECONFIG": "/nonexistent"}
    done = subprocess.run(Cluster.SAILCTL, capture_output=True, text=True, env=empty, timeout=20, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_host_ports_by_relay_where_sockets_cannot_be_swapped(state: Path) -> None:
    relayed = Cluster(state)
    relayed.start("--no-bind-swap")
    try:
        assert [relayed.get("/productpage").status for _ in range(20)] == [200] * 20
        events = relayed.kubectl("get", "events", "-n", "istio-system", "-o", "jsonpath={.items[*].reason}")
        assert "HostPortRelayed" in events
        gateway = relayed.kubectl(
            "get", "pods", "-n", "istio-system", "-l", "istio=ingressgateway", "-o", "name"
        ).strip()
        relayed.kubectl("delete", gateway, "-n", "istio-system", "--wait=false")
        relayed.eventually(lambda: _answers(relayed), 30)
    finally:
        relayed.stop()


def _answers(cluster: Cluster) -> bool:
    try:
        return cluster.get("/productpage").status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_pod_starts_when_its_image_is_added(mesh: Cluster, tmp_path: Path) -> None:
    program = tmp_path / "serve.sh"
    program.write_text('#!/bin/sh\necho "hello from $WHO"\nexec sleep 600\n')
    program.chmod(0o755)
    where = ("--state", str(mesh.state))
    mesh.kubectl(
        "run", "own", "--image=example.com/own/app:3", "--restart=Never", "--labels=sidecar.istio.io/inject=false"
    )
    try:
        path = "jsonpath={.status.containerStatuses[0].state.waiting.message}"
        mesh.eventually(lambda: "sailctl image add" in mesh.kubectl("get", "pod", "own", "-o", path))
        done = run(mesh, "image", "add", *where, "-e", "WHO=me", "example.com/own/app", str(program))
        assert done.returncode == 0, done.stderr
        mesh.kubectl("wait", "--for=condition=Ready", "pod/own", "--timeout=20s")
        mesh.eventually(lambda: mesh.kubectl("logs", "own") == "hello from me\n")
        listed = json.loads(run(mesh, "image", "list", *where, "-o", "json").stdout)
        assert {"image": "example.com/own/app", "source": "user", "command": str(program)} in listed
        assert any(entry["source"] == "shipped" for entry in listed)
    finally:
        mesh.kubectl("delete", "pod", "own", "--grace-period=1", "--ignore-not-found")
        run(mesh, "image", "remove", *where, "example.com/own/app")
    assert run(mesh, "image", "remove", *where, "example.com/own/app").returncode == 1
    assert run(mesh, "image", "add", *where, "x", "/no/such/program").returncode == 65


def test_exported_objects_can_be_applied_again(mesh: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    done = run(mesh, "export", "-n", "default", "-f", str(file))
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    assert "kind: VirtualService" in text
    assert "managedFields" not in text
    assert "kind: Secret" not in text
    again = mesh.kubectl("apply", "--dry-run=server", "-f", str(file))
    assert "virtualservice.networking.istio.io/bookinfo" in again
    assert "deployment.apps/reviews-v3" in again


def test_names_of_clusters(mesh: Cluster) -> None:
    assert run(mesh, "status", "--name", "Other!").returncode == 64
    assert run(mesh, "status", "--name", "other", "--state", "/x").returncode == 64
    done = run(mesh, "status", "--name", "other")
    assert done.returncode == 1
    assert "clusters/other" in done.stdout


def test_what_the_demo_applied_is_the_users_to_apply_again(mesh: Cluster) -> None:
    sample = Path(__file__).parents[2] / "samples/bookinfo/platform/kube/bookinfo.yaml"
    told = mesh.kubectl("apply", "--dry-run=server", "-f", str(sample))
    assert "deployment.apps/productpage-v1 unchanged" in told
    assert "Warning" not in told


def test_a_gateway_that_does_not_exist_is_named_until_it_does(mesh: Cluster) -> None:
    rule = service("elsewhere")
    rule["spec"] |= {"hosts": ["elsewhere.example.com"], "gateways": ["later"]}
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(rule))
    told = "jsonpath={.status.conditions[?(@.type=='Programmed')].message}"

    def message() -> str:
        return mesh.kubectl("get", "virtualservice", "elsewhere", "-o", told)

    mesh.eventually(lambda: message() == "0/0 proxies; gateway default/later does not exist")
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["elsewhere.example.com"]}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
    gateway = {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "later"}, "spec": spec}
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(gateway))
    mesh.eventually(lambda: message() == "1/1 proxies")
    mesh.kubectl("delete", "gateway.networking.istio.io", "later")
    mesh.eventually(lambda: message() == "0/0 proxies; gateway default/later does not exist")
    mesh.kubectl("delete", "virtualservice", "elsewhere")
