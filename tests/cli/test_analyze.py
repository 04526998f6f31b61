"""`sailctl analyze` and `validate` over files: output forms, thresholds, suppression and exit codes, as istioctl has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: a
spec:
  hosts: [a]
  http:
  - route:
    - destination:
        host: nowhere
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: silent}\n"
FOUND = "Error: Analyzers found issues when analyzing namespace: default.\n"
LINE = 'Error [IST0101] (VirtualService default/a {}:10) Referenced host not found: "nowhere"\n'


def sailctl(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sailcloth.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, input=stdin)


def analyze(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return sailctl("analyze", "--use-kube=false", *arguments, stdin=stdin)


@pytest.fixture
def rule(tmp_path: Path) -> str:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE)
    return str(path)


def test_log_form(rule: str) -> None:
    done = analyze(rule)
    assert (done.returncode, done.stdout) == (79, LINE.format(rule))
    assert done.stderr.startswith(FOUND)
    assert analyze("-v", rule, "--color").stdout.startswith("\x1b[31mError\x1b[0m [IST0101]")


def test_structured_forms(rule: str) -> None:
    (item,) = json.loads(analyze(rule, "-o", "json").stdout)
    assert item["code"] == "IST0101"
    assert item["level"] == "Error"
    assert item["message"] == 'Referenced host not found: "nowhere"'
    assert item["origin"] == "VirtualService default/a"
    assert item["reference"] == f"{rule}:10"
    assert item["path"] == "spec.http[0].route[0].destination.host"
    assert item["documentationUrl"].endswith("/ist0101/")
    assert yaml.safe_load(analyze(rule, "-o", "yaml").stdout) == [item]


def test_standard_input_and_lists() -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(RULE)]}
    done = analyze("-", stdin=yaml.safe_dump(items))
    assert done.stdout.startswith("Error [IST0101] (VirtualService default/a -:13)")


def test_nothing_found() -> None:
    done = analyze("-", stdin="{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "✔ No validation issues found when analyzing namespace: default.\n"
    assert "all namespaces" in analyze("-A", "-", stdin="{apiVersion: v1, kind: ConfigMap}").stderr
    assert json.loads(analyze("-", "-o", "json", stdin="{apiVersion: v1, kind: ConfigMap}").stdout) == []


def test_thresholds() -> None:
    assert analyze("-", stdin=NAMESPACE).returncode == 0
    assert analyze("-", "--failure-threshold", "Info", stdin=NAMESPACE).returncode == 79
    assert analyze("-", "--output-threshold", "Warning", stdin=NAMESPACE).stdout == ""
    assert analyze("-", "--output-threshold", "loud", stdin=NAMESPACE).returncode == 64


def test_suppression(rule: str) -> None:
    assert analyze(rule, "--suppress", "IST0101=VirtualService a.def*").returncode == 0
    assert analyze(rule, "-S", "IST0102=VirtualService a.default").returncode == 79
    assert analyze(rule, "-S", "IST0101").returncode == 64
    assert "unknown message code" in analyze(rule, "-S", "IST9999=Namespace *").stderr
    annotated = RULE.replace(
        "  name: a\n", "  name: a\n  annotations: {galley.istio.io/analyze-suppress: 'IST0103, IST0101'}\n"
    )
    assert analyze("-", stdin=annotated).returncode == 0


def test_folders(rule: str, tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "other.json").write_text(json.dumps(yaml.safe_load(RULE.replace("name: a", "name: b"))))
    (tmp_path / "notes.txt").write_text("not: [yaml")
    assert analyze(str(tmp_path)).stdout.count("IST0101") == 1
    assert analyze("-R", str(tmp_path)).stdout.count("IST0101") == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [\n")
    done = analyze(str(bad))
    assert done.returncode == 65
    assert f"Error: {bad}: not YAML" in done.stderr
    assert "(but 1 file could not be parsed)" in done.stderr
    assert analyze("--ignore-unknown", str(bad)).returncode == 0
    assert "No such file" in analyze(str(tmp_path / "gone.yaml")).stderr
    assert "no apiVersion and kind" in analyze("-", stdin="a: b").stderr


def test_chosen_analyzers(rule: str) -> None:
    assert analyze(rule, "--analyzer", "gateway.SecretAnalyzer").returncode == 0
    assert analyze(rule, "--analyzer", "nonsense").returncode == 64
    listed = sailctl("x", "analyze", "-L").stdout
    assert "* virtualservice.DestinationHostAnalyzer:\n    Checks the destination hosts" in listed


def test_objects_of_another_revision(rule: str) -> None:
    labelled = RULE.replace("  name: a\n", "  name: a\n  labels: {istio.io/rev: canary}\n")
    assert analyze("-", "--revision", "stable", stdin=labelled).returncode == 0
    assert analyze("-", "--revision", "canary", stdin=labelled).returncode == 79


def test_mesh_config(tmp_path: Path, rule: str) -> None:
    options = tmp_path / "mesh.yaml"
    options.write_text("outboundTrafficPolicy: {mode: SOMETIMES}")
    done = analyze(rule, "--meshConfigFile", str(options))
    assert done.returncode == 65
    assert "outboundTrafficPolicy.mode" in done.stderr


def test_validate(rule: str, tmp_path: Path) -> None:
    done = sailctl("validate", "-f", rule)
    assert (done.returncode, done.stdout) == (0, f'"{rule}" is valid\n')
    assert sailctl("x", "validate", "-f", "-", stdin=RULE).stdout == "validation succeed\n"
    done = sailctl("validate", "-f", "-", stdin=RULE.replace("hosts: [a]", "hosts: ['a b']"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 1 error occurred:\n\t* VirtualService/default/a: spec.hosts[0]: ")
    assert sailctl("validate").returncode == 64
