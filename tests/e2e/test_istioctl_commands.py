"""The commands that istioctl's users have, against a running cluster: columns, exit codes, and what they change."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import pytest
import yaml
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2

from sailcloth.cli import main
from sailcloth.xds.server import SERVICE

from .bookinfo import Cluster
from .test_control_plane_pod import forwarded

Object = dict[str, Any]
REVIEWS = "deployment/reviews-v1"


def run(mesh: Cluster, *arguments: str, code: int = 0) -> str:
    """What a command prints: on its output, or on its error output if it is to fail. In this process, to be fast."""
    out, err = io.StringIO(), io.StringIO()
    surroundings = (
        mock.patch.dict(os.environ, mesh.environment),
        mock.patch.object(sys, "argv", ["sailctl", *arguments]),
    )
    with surroundings[0], surroundings[1], contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.run()
            ended: object = 0
        except SystemExit as end:
            ended = end.code or 0
    assert ended == code, out.getvalue() + err.getvalue()
    return (err if code else out).getvalue()


def table(text: str) -> list[list[str]]:
    """The cells of a table, header included; empty cells are lost."""
    return [re.split(r" {5,}", line.strip()) for line in text.splitlines() if line.strip()]


@contextlib.contextmanager
def namespace(mesh: Cluster, name: str, *labels: str) -> Iterator[str]:
    mesh.kubectl("create", "namespace", name)
    try:
        if labels:
            mesh.kubectl("label", "namespace", name, *labels)
        yield name
    finally:
        mesh.kubectl("delete", "namespace", name, "--wait=false")


def test_versions(cluster: Cluster) -> None:
    shown = json.loads(run(cluster, "version", "--remote", "-o", "json"))
    assert set(shown["meshVersion"][0]) == {"Component", "Info"}
    assert all(set(p) == {"ID", "IstioVersion"} for p in shown["dataPlaneVersion"])
    assert re.search(r"^data plane version: \S+ \(\d+ proxies\)$", run(cluster, "x", "version"), re.MULTILINE)


def test_proxy_status_and_its_options_before_the_command(cluster: Cluster, tmp_path: Path) -> None:
    header, *rows = table(run(cluster, "proxy-status"))
    assert header == ["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"]
    assert all(re.fullmatch(r"\d \(CDS,.*\)", row[-1]) for row in rows)
    header, *rows = table(run(cluster, "x", "proxy-status", "-v"))
    assert header == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ISTIOD", "VERSION"]
    assert all(re.fullmatch(r"SYNCED \(\d+[smhd]\)", row[2]) for row in rows), rows
    # Routes of a listener that drains after an earlier test may still be in Envoy.
    same = "Clusters Match\nListeners Match\n"
    before = ("-n", "default", "--istioNamespace", "istio-system")
    cluster.eventually(lambda: run(cluster, *before, "proxy-status", REVIEWS).startswith(same))
    file = tmp_path / "dump.json"
    file.write_text(run(cluster, "pc", "all", REVIEWS, "-o", "json"))
    assert run(cluster, "proxy-status", "-f", str(file)).startswith(same)
    (row,) = json.loads(run(cluster, "x", "internal-debug", "syncz", REVIEWS))
    assert row["proxy"].startswith("reviews-v1-")


def test_more_of_a_proxy(cluster: Cluster) -> None:
    name = "outbound|9080||details.default.svc.cluster.local"
    header, *rows = table(run(cluster, "proxy-config", "eds", REVIEWS, "--cluster", name))
    assert header == ["NAME", "STATUS", "LOCALITY", "CLUSTER"]
    assert [(row[1], row[-1]) for row in rows] == [("HEALTHY", name)]
    assert table(run(cluster, "pc", "ecds", REVIEWS))[0] == ["ECDS NAME", "TYPE"]
    assert "trust the same roots" in run(cluster, "pc", "rootca-compare", REVIEWS, "deployment/details-v1")
    assert "envoy_server_live{} 1" in run(cluster, "x", "envoy-stats", REVIEWS, "-o", "prom").replace(" {}", "{}")
    merged = run(cluster, "x", "envoy-stats", REVIEWS, "-o", "prom-merged")
    assert "istio_agent_" in merged or "envoy_cluster_" in merged
    assert json.loads(run(cluster, "x", "es", REVIEWS, "--type", "clusters", "-o", "json"))["cluster_statuses"]


def test_debug_pages(cluster: Cluster) -> None:
    pages = json.loads(run(cluster, "x", "internal-debug"))
    pod = f"{cluster.pod('app=details')}.default"
    for page in pages:
        name = page.removeprefix("/debug/")
        if name != "force_disconnect":
            assert cluster.kubectl("get", "--raw", f"{PROXY}{page}?proxyID={pod}"), page
    assert any(e["clusterName"] for e in json.loads(run(cluster, "x", "internal-debug", "edsz", pod)))
    assert "lists the pages" in run(cluster, "x", "internal-debug", "nothing", code=1)
    before = _connection(cluster, pod)
    assert "will connect again" in run(cluster, "x", "internal-debug", f"force_disconnect?proxyID={pod}")
    cluster.eventually(lambda: _connection(cluster, pod) not in ("", before))


def test_debug_pages_over_discovery_as_istioctl_asks(cluster: Cluster) -> None:
    """TLS and a token of the installation's namespace, through a port-forward to the pod; nothing is subscribed to."""
    token = cluster.kubectl("create", "token", "default", "-n", "istio-system", "--audience", "istio-ca").strip()
    bundle = ("get", "configmap", "istio-ca-root-cert", "-o", "jsonpath={.data.root-cert\\.pem}")
    credentials = grpc.ssl_channel_credentials(cluster.kubectl(*bundle).encode())
    name = [("grpc.ssl_target_name_override", "istiod.istio-system.svc")]
    pod = f"{cluster.pod('app=details')}.default"
    with forwarded(cluster, 15012) as port, grpc.secure_channel(f"localhost:{port}", credentials, name) as channel:
        stream = channel.stream_stream(
            f"/{SERVICE}/StreamAggregatedResources",
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )

        def page(url: str, *names: str) -> Any:
            requests: queue.Queue[Any] = queue.Queue()
            node = {"id": "debug~0.0.0.0~istioctl~cluster.local"}
            requests.put(discovery_pb2.DiscoveryRequest(type_url=url, resource_names=names, node=node))
            metadata = (("authorization", f"Bearer {token}"),)
            answer = next(stream(iter(requests.get, None), metadata=metadata, timeout=10))
            requests.put(None)
            return answer

        synced = page("istio.io/debug/syncz")
        assert json.loads(synced.control_plane.identifier)["Component"] == "istiod"
        configs = [csds_pb2.ClientConfig.FromString(r.value) for r in synced.resources]
        assert pod in [c.node.id for c in configs]
        assert {s.config_status for c in configs for s in c.generic_xds_configs} == {csds_pb2.SYNCED}
        for url, asked in (("istio.io/debug", f"edsz?proxyID={pod}"), ("istio.io/debug/edsz", f"proxyID={pod}")):
            (resource,) = page(url, asked).resources
            assert json.loads(resource.value)[0]["clusterName"].startswith("outbound|")
        assert "/debug/registryz" in json.loads(page("istio.io/debug", "list").resources[0].value)


def test_log_scopes_where_istioctl_looks_for_them(cluster: Cluster) -> None:
    with forwarded(cluster, 9876) as port:
        address = f"http://127.0.0.1:{port}/scopej/ads"
        body = json.dumps({"name": "ads", "output_level": "debug"}).encode()
        for level in (b"debug", b"info"):
            request = urllib.request.Request(address, body.replace(b"debug", level), method="PUT")
            assert urllib.request.urlopen(request, timeout=10).status == 202
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert json.load(answer)["output_level"] == level.decode()


PROXY = "/api/v1/namespaces/istio-system/services/http:istiod:http-monitoring/proxy"


def _connection(cluster: Cluster, pod: str) -> str:
    clients = json.loads(cluster.kubectl("get", "--raw", f"{PROXY}/debug/connections"))["clients"]
    return next((str(c["connectionId"]) for c in clients if c["connectionId"].startswith(pod)), "")


def test_a_tag_stands_for_a_revision(cluster: Cluster) -> None:
    with namespace(cluster, "tagged", "istio.io/rev=prod"):
        run(cluster, "tag", "set", "prod", "--revision", "default")
        try:
            assert "exists; --overwrite" in run(cluster, "tag", "set", "prod", "-r", "default", code=1)
            assert "revisions are default" in run(cluster, "tag", "generate", "x", "-r", "nosuch", code=1)
            made = yaml.safe_load(run(cluster, "tag", "generate", "other", "-r", "default"))
            assert made["metadata"]["name"] == "istio-revision-tag-other"
            assert table(run(cluster, "tag", "list")) == [
                ["TAG", "REVISION", "NAMESPACES"],
                ["prod", "default", "tagged"],
            ]
            rows = table(run(cluster, "x", "check-inject", "-n", "tagged"))
            assert rows[0] == ["WEBHOOK", "REVISION", "INJECTED", "REASON"]
            assert [row[:3] for row in rows[1:]] == [
                ["istio-revision-tag-prod", "default", "✔"],
                ["istio-sidecar-injector", "default", "✘"],
            ]
            pod = {"containers": [{"name": "a", "image": "curlimages/curl", "command": ["sleep", "600"]}]}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "tagged"}, "spec": pod}
            created = cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(body))
            assert "istio-proxy" in [c["name"] for c in json.loads(created)["spec"]["initContainers"]]
            listed = run(cluster, "x", "injector", "list")
            assert ["NAMESPACE", "ISTIO-REVISION", "POD-REVISIONS"] in table(listed)
            assert ["NAMESPACES", "INJECTOR-HOOK", "ISTIO-REVISION", "SIDECAR-IMAGE"] in table(listed)
            assert ["default", "default", "default: 6"] in table(listed)
        finally:
            run(cluster, "tag", "remove", "prod", "-y")
    assert "there is no revision tag" in run(cluster, "tag", "remove", "prod", "-y", code=1)


def test_log_levels_of_the_control_plane(cluster: Cluster) -> None:
    header, *rows = table(run(cluster, "admin", "log", "--level", "ads:debug"))
    assert header == ["ACTIVE SCOPE", "DESCRIPTION", "LOG LEVEL", "STACK TRACE LEVEL"]
    assert {row[0]: row[2] for row in rows}["ads"] == "debug"
    scopes = json.loads(run(cluster, "admin", "log", "--reset", "-o", "json"))
    assert {s["output_level"] for s in scopes} == {"info"}
    assert "unknown scope 'sea'" in run(cluster, "admin", "log", "--level", "sea:info", code=64)


def report(cluster: Cluster, folder: Path, *options: str) -> dict[str, bytes]:
    """The files of a bug report by name."""
    folder.mkdir()
    run(cluster, "bug-report", "--dir", str(folder), *options)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        return {m.name.removeprefix("bug-report/"): archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]


def test_a_report_has_no_secret(cluster: Cluster, tmp_path: Path) -> None:
    """Not even the CA's, whose Secret, log and pages are in it."""
    files = report(cluster, tmp_path / "all")
    assert files["problems.txt"].strip() == b""
    assert {
        "analysis.txt",
        "local/controlplane.log",
        "metrics/control-plane.txt",
        "objects/default/virtualservices.networking.istio.io.yaml",
        "objects/istio-system/secrets.yaml",
        "pages/syncz.json",
        "versions/control-plane.json",
    } <= set(files)
    assert any(re.fullmatch(r"proxies/default/details-.*/config_dump.json", name) for name in files)
    assert any(re.fullmatch(r"logs/istio-system/istiod-.*/discovery.log", name) for name in files)
    everything = b"".join(files.values())
    assert b"ca-key.pem" in files["objects/istio-system/secrets.yaml"]
    assert b"PRIVATE KEY" not in everything
    assert b"LS0tLS1CRUdJTiBFQyBQUklWQVRF" not in everything  # the begin of a key, encoded
    assert not re.search(rb"eyJ[\w-]{10,}\.[\w-]{10,}\.", everything)


def test_a_report_of_a_namespace_and_a_time(cluster: Cluster, tmp_path: Path) -> None:
    files = report(cluster, tmp_path / "one", "--include", "default", "--start-time", "2200-01-01T00:00:00Z")
    assert any(name.startswith("proxies/default/") for name in files)
    assert not any("istio-system" in name or name.startswith("local/") for name in files)
    assert {body for name, body in files.items() if name.startswith("logs/")} == {b""}


def test_the_cluster_is_fit_and_complete(cluster: Cluster) -> None:
    assert run(cluster, "x", "precheck").startswith("✔ ")
    assert json.loads(run(cluster, "x", "precheck", "-o", "json")) == []
    assert run(cluster, "verify-install").splitlines()[-1].startswith("✔ the installation is complete")


def test_other_clusters(cluster: Cluster, tmp_path: Path) -> None:
    assert table(run(cluster, "remote-clusters"))[0] == ["NAME", "SECRET", "STATUS", "ISTIOD", "REVISION"]
    made = yaml.safe_load(run(cluster, "create-remote-secret", "--name", "east").partition("---")[0])
    config = tmp_path / "config"
    config.write_text(made["stringData"]["east"])
    cluster.kubectl("--kubeconfig", str(config), "get", "services", "-A")
    cluster.kubectl("--kubeconfig", str(config), "get", "secrets", "-A", fails=True)


def test_words_of_the_founding_era(mesh: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "rule.json"
    spec = {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "old"}, "spec": spec}
    file.write_text(json.dumps(rule))
    assert run(mesh, "create", "-f", str(file)).startswith("Created config virtual-service/default/old at revision ")
    assert "already exists" in run(mesh, "create", "-f", str(file), code=1)
    assert run(mesh, "replace", "-f", str(file)).startswith("Updated config virtual-service/default/old to revision ")
    header, *rows = table(run(mesh, "get", "virtualservices"))
    assert header[:2] == ["NAME", "NAMESPACE"]
    assert [row[0] for row in rows] == ["bookinfo", "old"]
    assert yaml.safe_load(run(mesh, "get", "vs", "old", "-o", "yaml"))["spec"] == spec
    assert run(mesh, "delete", "virtualservice", "old") == "Deleted config: virtual-service/default/old\n"
    header, *rows = table(run(mesh, "authn", "tls-check", "deployment/productpage-v1", "reviews"))
    assert header == ["HOST:PORT", "STATUS", "SERVER", "CLIENT", "AUTHN POLICY", "DESTINATION RULE"]
    assert rows == [["reviews.default.svc.cluster.local:9080", "OK", "HTTP/mTLS", "mTLS", "(default)", "-"]]


def test_addresses_and_machines_outside(mesh: Cluster) -> None:
    def endpoints(host: str) -> list[str]:
        name = f"outbound|{host}.default.svc.cluster.local"
        return [row[0] for row in table(run(mesh, "pc", "endpoint", REVIEWS, "--cluster", name))[1:]]

    try:
        run(mesh, "register", "mysql", "192.0.2.7", "tcp:3306")
        mesh.eventually(lambda: endpoints("3306||mysql") == ["192.0.2.7:3306"])
        run(mesh, "deregister", "mysql", "192.0.2.7")
        run(mesh, "x", "add-to-mesh", "external-service", "vm", "192.0.2.8,192.0.2.9", "http:8080")
        mesh.eventually(lambda: endpoints("8080||vm") == ["192.0.2.8:8080", "192.0.2.9:8080"])
        run(mesh, "x", "remove-from-mesh", "external-service", "vm")
        mesh.kubectl("create", "deployment", "idle", "--image=curlimages/curl", "--replicas=0")
        run(mesh, "x", "remove-from-mesh", "deployment", "idle")
        label = "jsonpath={.spec.template.metadata.labels.sidecar\\.istio\\.io/inject}"
        assert mesh.kubectl("get", "deployment", "idle", "-o", label) == "false"
        run(mesh, "x", "add-to-mesh", "deployment", "idle")
        assert mesh.kubectl("get", "deployment", "idle", "-o", label) == "true"
    finally:
        mesh.kubectl("delete", "deployment,service", "idle", "mysql", "vm", "--ignore-not-found")


@pytest.mark.parametrize(("name", "words"), [("controlz", '"output_level"'), ("istiod-debug", "/debug/syncz")])
def test_dashboards_of_the_control_plane(cluster: Cluster, name: str, words: str) -> None:
    command = [*Cluster.SAILCTL, "dashboard", name, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cluster.environment) as process:
        try:
            assert process.stdout is not None
            with urllib.request.urlopen(process.stdout.readline().strip(), timeout=10) as answer:
                assert words in answer.read().decode()
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_live_names(cluster: Cluster, shell: str) -> None:
    """What the scripts of the shells ask; the scripts themselves where the shell is installed."""
    words = "sailctl proxy-config route details"
    asked = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": "3"},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {**cluster.environment, **asked, "_SAILCTL_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(Cluster.SAILCTL, capture_output=True, text=True, env=environment, timeout=20, check=False)
    assert re.search(r"details-v1-\S+\.default", done.stdout), done.stdout + done.stderr
    if program := shutil.which(shell):
        script = run(cluster, "completion", shell)
        checked = subprocess.run(
            [program, "-n"], input=script, text=True, capture_output=True, env=os.environ, check=False
        )
        assert checked.returncode == 0, checked.stderr
