"""The program that the container runtime runs, by the protocol of CNI: what it prints, and whom it asks."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import go_programs
from sailcloth.cni import chaining

POD = {"namespace": "shop", "name": "web", "uid": "u1", "netns": "/var/run/netns/n1"}
ARGUMENTS = "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}"
INJECTED = {"sidecar.istio.io/status": '{"initContainers":["istio-validation","istio-proxy"]}'}
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}], "interfaces": [{"name": "eth0"}]}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if go_programs.go() is None:
        pytest.skip("there is no Go to build the plugin with")
    target = tmp_path_factory.mktemp("plugin") / "istio-cni"
    go_programs.build("istio-cni", target)
    return target


class DaemonSet:
    """Answers one request after the other, and keeps them."""

    def __init__(self, folder: str) -> None:
        self.folder, self.requests, self.answer = folder, [], {}  # type: ignore[var-annotated]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{folder}/pluginevent.sock")
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rw") as stream:
                self.requests.append(json.loads(stream.readline()))
                stream.write(json.dumps(self.answer) + "\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def daemon_set() -> Iterator[DaemonSet]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path may not be long
        running = DaemonSet(folder)
        yield running
        running.close()


def call(
    program: Path, folder: str, pod: dict[str, str] = POD, command: str = "ADD", **changes: Any
) -> tuple[int, dict[str, Any]]:
    """Exit code and what it prints. `changes`: of the configuration that the runtime passes."""
    conf = {**chaining.entry(["kube-system"], "istio-system", folder), "cniVersion": "1.0.0", "prevResult": RESULT}
    conf.update(changes)
    environment = {"CNI_COMMAND": command, "CNI_ARGS": ARGUMENTS.format(**pod), "CNI_NETNS": pod["netns"]}
    done = subprocess.run([program], env=environment, input=json.dumps(conf), text=True, stdout=-1, check=False)
    return done.returncode, json.loads(done.stdout or "{}")


def with_annotations(annotations: dict[str, str]) -> dict[str, Any]:
    return {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}}


def test_the_previous_result_is_passed_on(program: Path, daemon_set: DaemonSet) -> None:
    assert call(program, daemon_set.folder, **with_annotations(INJECTED)) == (0, RESULT)
    assert daemon_set.requests == [POD]


NOT_ASKED: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "not injected": ({}, with_annotations({"a": "b"})),
    "a gateway": ({}, with_annotations({"sidecar.istio.io/status": '{"initContainers":null}'})),
    "told not to": ({}, with_annotations({**INJECTED, "sidecar.istio.io/inject": "false"})),
    "an excluded namespace": ({"namespace": "kube-system"}, with_annotations(INJECTED)),
    "the DaemonSet's own": ({"namespace": "istio-system", "name": "istio-cni-node-x2x"}, {}),
    "no pod": ({"name": ""}, {}),
}


@pytest.mark.parametrize("case", NOT_ASKED)
def test_other_pods_start_without_the_daemon_set(program: Path, tmp_path: Path, case: str) -> None:
    pod, changes = NOT_ASKED[case]
    assert call(program, str(tmp_path), {**POD, **pod}, **changes) == (0, RESULT)


@pytest.mark.parametrize("changes", [with_annotations(INJECTED), {}], ids=["injected", "a runtime that tells nothing"])
def test_a_pod_of_the_mesh_waits_for_the_daemon_set(program: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    code, printed = call(program, str(tmp_path), **changes)
    assert (code, printed["code"], printed["cniVersion"]) == (1, 11, "1.0.0")
    assert "traffic of pod shop/web is not captured: the DaemonSet istio-cni-node does not answer" in printed["msg"]


def test_the_daemon_sets_reason_is_told(program: Path, daemon_set: DaemonSet) -> None:
    daemon_set.answer = {"error": "interception mode TPROXY is not supported here; use REDIRECT"}
    code, printed = call(program, daemon_set.folder, **with_annotations(INJECTED))
    assert (code, printed["code"]) == (1, 100)
    assert printed["msg"].endswith("is not captured: interception mode TPROXY is not supported here; use REDIRECT")


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
def test_other_commands_do_nothing(program: Path, tmp_path: Path, command: str) -> None:
    assert call(program, str(tmp_path), command=command) == (0, {})


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_results_are_of_the_version_that_is_asked_for(program: Path, tmp_path: Path, version: str) -> None:
    _, printed = call(program, str(tmp_path), cniVersion=version, **with_annotations({}))
    assert printed["cniVersion"] == version
    assert version in call(program, str(tmp_path), command="VERSION", cniVersion=version)[1]["supportedVersions"]


def test_a_version_that_is_not_known_is_refused(program: Path, tmp_path: Path) -> None:
    code, printed = call(program, str(tmp_path), cniVersion="2.0.0")
    assert (code, printed["code"]) == (1, 1)
    assert printed["msg"] == 'cniVersion "2.0.0" is not known; use one of 0.3.1, 0.4.0, 1.0.0, 1.1.0'
