"""The manifests of every profile as they are. `pytest tests/install --rewrite-goldens` writes them anew, for a look at the difference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.api import addons
from sailcloth.install import access
from sailcloth.install.profiles import PROFILES
from sailcloth.lib import bounded_yaml
from tools import charts

GOLDENS = Path(__file__).parent / "golden"


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sailcloth.cli", "manifest", "generate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def objects(text: str) -> list[dict[str, Any]]:
    return [o for o in bounded_yaml.load_all(text) if o]


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles(profile: str, request: pytest.FixtureRequest) -> None:
    done = generate("--set", f"profile={profile}")
    assert (done.returncode, done.stderr) == (0, "")
    documents = done.stdout.split("---\n")
    shown = "---\n".join(d for d in documents if "\nkind: CustomResourceDefinition\n" not in d)
    golden = GOLDENS / f"{profile}.yaml"
    if request.config.getoption("--rewrite-goldens"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_a_component_alone() -> None:
    kinds = [o["kind"] for o in objects(generate("--component", "IngressGateways").stdout)]
    assert kinds[0] == "ServiceAccount"
    assert "CustomResourceDefinition" not in kinds


def test_charts_are_written_without_a_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sailcloth.cli", "manifest", "charts", "--output", str(tmp_path / "charts")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    written = {str(p.relative_to(tmp_path / "charts")): p.read_text() for p in (tmp_path / "charts").rglob("*.*")}
    assert written == {str(p.relative_to(charts.FOLDER)): p.read_text() for p in charts.FOLDER.rglob("*.*")}
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 64
    assert "is there already; remove it, or name another folder" in again.stderr


def test_warnings_go_to_the_error_output() -> None:
    done = generate("--set", "pilot.nosuch=1", "--set", "profile=empty")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = generate("--set", "pilot.nosuch=1", "--set", "profile=minimal")
    assert done.stderr == "Warning: values.pilot.nosuch: has no effect here\n"


def test_manifests_that_differ(tmp_path: Path) -> None:
    files = []
    for name in ("minimal", "default"):
        (tmp_path / name).write_text((GOLDENS / f"{name}.yaml").read_text())
        files.append(str(tmp_path / name))
    command = [sys.executable, "-m", "sailcloth.cli", "manifest", "diff"]
    same = subprocess.run([*command, files[0], files[0]], capture_output=True, text=True, check=False)
    assert (same.returncode, same.stdout) == (0, "the manifests have the same objects\n")
    other = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "+ Deployment istio-system/istio-ingressgateway" in other.stdout.splitlines()


def test_what_is_dumped_can_be_installed(tmp_path: Path) -> None:
    dumped = subprocess.run(
        [sys.executable, "-m", "sailcloth.cli", "profile", "dump", "demo"], capture_output=True, text=True, check=True
    )
    file = tmp_path / "demo.yaml"
    file.write_text(dumped.stdout)
    assert generate("-f", str(file)).stdout == generate("--set", "profile=demo").stdout


def test_the_control_plane_may_do_no_more_than_it_needs() -> None:
    """No wildcards, and no way to other rights: to roles, bindings, or what runs in pods."""
    rules = [*access.cluster_rules(), *access.gateway_rules(), *access.own_rules()]
    assert not [r for r in rules if "*" in (*r["apiGroups"], *r["resources"], *r["verbs"])]
    writable = {
        (r["apiGroups"][0], resource)
        for r in rules
        for resource in r["resources"]
        if {*r["verbs"]} - {"get", "list", "watch"}
    }
    assert not {group for group, _ in writable} & {"rbac.authorization.k8s.io", "apiextensions.k8s.io"}
    assert ("", "pods") not in writable
    assert {tuple(r["verbs"]) for r in access.cluster_rules() if "secrets" in r["resources"]} == {
        ("get", "list", "watch")
    }


@pytest.mark.parametrize("name", ["istiod", "telemetry", "kiali"])
def test_goldens_have_what_clusters_ask_of_pods(name: str) -> None:
    """The profile `restricted` of Pod Security."""
    found = [o for o in yaml.load_all((GOLDENS / "demo.yaml").read_text(), Loader=yaml.CSafeLoader) if o]
    (pod,) = (
        o["spec"]["template"]["spec"] for o in found if o["kind"] == "Deployment" and o["metadata"]["name"] == name
    )
    (container,) = pod["containers"]
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["securityContext"] | security == pod["securityContext"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests"} <= set(container["resources"])


def test_telemetry_and_console_may_do_no_more_than_they_need() -> None:
    """No wildcards; the telemetry sees pods, and the console writes nothing but questions about users."""
    every = [*addons.telemetry_rules(), *addons.console_rules(), *addons.editor_rules()]
    assert not [r for r in every if "*" in (*r["apiGroups"], *r["resources"], *r["verbs"])]
    assert [r["resources"] for r in addons.telemetry_rules()] == [["pods"]]
    written = {
        r for rule in addons.console_rules() for r in rule["resources"] if {*rule["verbs"]} - {"get", "list", "watch"}
    }
    assert written == {"tokenreviews", "subjectaccessreviews"}
    assert not [r for r in addons.console_rules() if "secrets" in r["resources"]]
