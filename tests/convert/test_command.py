"""`sailctl x convert`: its outputs, its exit codes, and what it says about wrong input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sailcloth.cli import main

LOSSY = """
apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata: {name: e}
spec: {destination: {service: example.com}, ports: [{port: 80, protocol: http}], useEgressProxy: true}
"""


def run(*arguments: str, stdin: str = "") -> Any:
    return CliRunner().invoke(main.app("x"), ["x", "convert", *arguments], input=stdin)


def test_what_is_current_passes_unchanged(tmp_path: Path) -> None:
    text = "# kept\napiVersion: v1\nkind: ConfigMap  # and this\nmetadata: {name: 'a'}\ndata:\n  x: |\n    ---\n    y\n"
    path = tmp_path / "a.yaml"
    path.write_text(text)
    done = run("-f", str(path))
    assert (done.exit_code, done.stdout) == (0, text)


def test_losses_are_comments_and_findings() -> None:
    done = run("-f", "-", stdin=LOSSY)
    assert done.exit_code == 0
    assert "# Lost: spec.useEgressProxy: traffic leaves from the sidecars." in done.stdout
    assert "Warning [SAIL0301] (EgressRule default/e: spec.useEgressProxy)" in done.stderr
    assert run("-f", "-", "--strict", stdin=LOSSY).exit_code == 65


def test_structured_output_names_objects_and_losses() -> None:
    found = json.loads(run("-f", "-", "-n", "shop", "-o", "json", stdin=LOSSY).stdout)
    assert [o["kind"] for o in found["objects"]] == ["ServiceEntry"]
    assert [(one["object"], one["path"]) for one in found["lost"]] == [("EgressRule shop/e", "spec.useEgressProxy")]


def test_a_kind_without_a_conversion_stays_and_is_said() -> None:
    text = "apiVersion: config.istio.io/v1alpha2\nkind: IngressRule\nmetadata: {name: i}\n"
    done = run("-f", "-", stdin=text)
    assert done.stdout.endswith(text)
    assert "# Lost: kind: the object stays as it is: IngressRule has no conversion." in done.stdout


def test_what_is_converted_is_validated() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [a], http: [{appendHeaders: {a: b}}]}\n"
    done = run("-f", "-", "--strict", stdin=text)
    assert done.exit_code == 65
    assert "Error [" in done.stderr


def test_a_directory_and_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: a}}]"
    )
    (tmp_path / "b.yml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: b}")
    assert re.findall(r"name: \w", run("-f", str(tmp_path)).stdout) == ["name: a", "name: b"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("a: [", (), "-: not YAML:"),
        ("metadata: {name: a}", (), "object 1 has no apiVersion and kind: give both"),
        ("", ("--to", "linkerd"), "--to 'linkerd' is not known; use istio or gateway-api"),
        ("", ("-o", "xml"), "unknown output 'xml'; use text, json or yaml"),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: '['}}",
            (),
            "ConfigMap istio: data.mesh:",
        ),
    ],
)
def test_wrong_input(text: str, arguments: tuple[str, ...], message: str) -> None:
    done = run("-f", "-", *arguments, stdin=text)
    assert done.exit_code in (64, 65)
    assert message in done.stderr


def test_the_help_has_examples() -> None:
    assert "sailctl x convert -f" in " ".join(run("--help").stdout.split())


def test_what_a_server_adds_is_not_taken_over() -> None:
    text = """
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata:
  name: web
  uid: 5b3c
  resourceVersion: "12"
  creationTimestamp: 2020-01-01T00:00:00Z
  labels: {team: a}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", note: b}
spec: {service: web, backends: [{service: web-v1, weight: 1}, {service: web-v2, weight: 1}]}
"""
    for target in ("istio", "gateway-api"):
        done = run("-f", "-", "-o", "json", "--to", target, stdin=text)
        metadata = [one["metadata"] for one in json.loads(done.stdout)["objects"]]
        assert metadata == [{"name": "web", "labels": {"team": "a"}, "annotations": {"note": "b"}}]
