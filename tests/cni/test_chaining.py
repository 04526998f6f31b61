"""The plugin in the node's network configuration: chained, chained again, and taken out without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sailcloth.cni import chaining
from sailcloth.cni.host import Host

OWN = chaining.entry(["kube-system"], "istio-system", "/var/run/istio-cni")
LIST = '{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"},\n {"type": "portmap"}]}\n'
SINGLE = '{"cniVersion": "0.3.1", "name": "one", "type": "ptp", "ipam": {"type": "host-local"}}'
GOLDEN = """\
{
  "cniVersion": "0.3.1",
  "name": "one",
  "plugins": [
    {
      "name": "one",
      "type": "ptp",
      "ipam": {
        "type": "host-local"
      }
    },
    {
      "type": "istio-cni",
      "name": "istio-cni",
      "exclude_namespaces": [
        "kube-system"
      ],
      "pod_namespace": "istio-system",
      "cni_agent_run_dir": "/var/run/istio-cni",
      "capabilities": {
        "io.kubernetes.cri.pod-annotations": true
      }
    }
  ]
}
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name in ("conf", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "program").write_bytes(b"program")
    return Host(tmp_path / "conf", tmp_path / "bin", tmp_path / "program", OWN)


def files(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def types(path: Path) -> list[str]:
    return [p["type"] for p in json.loads(path.read_text())["plugins"]]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["99-loopback.conf", "10-a.conflist", "readme"], "10-a.conflist"),
        (["10-a.conf.before-istio-cni", ".10-a.conf", "20-b.json"], "20-b.json"),
        ([], ""),
    ],
)
def test_the_first_file_is_the_one_that_the_runtime_reads(names: list[str], chosen: str) -> None:
    assert chaining.first(names) == chosen


def test_a_single_plugin_becomes_a_list() -> None:
    assert chaining.chained(SINGLE, OWN) == GOLDEN


def test_chaining_twice_changes_nothing() -> None:
    assert chaining.chained(GOLDEN, OWN) == GOLDEN


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "is no JSON"), ("[]", "is no network configuration"), ('{"plugins": [1]}', "list of objects")],
)
def test_what_is_no_configuration_is_said(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        chaining.chained(text, OWN)


@pytest.mark.parametrize(("name", "text"), [("10-a.conflist", LIST), ("10-a.conf", SINGLE)])
def test_a_removed_plugin_leaves_every_byte_as_it_was(host: Host, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "conf" / name).write_text(text)
    assert host.install() == ""
    assert types(tmp_path / "conf" / "10-a.conflist")[-1] == "istio-cni"
    assert (tmp_path / "bin" / "istio-cni").stat().st_mode & 0o777 == 0o755
    host.remove()
    assert files(tmp_path / "conf") == {name: text}
    assert files(tmp_path / "bin") == {}


@pytest.mark.parametrize(("name", "text"), [("10-a.conflist", LIST), ("10-a.conf", SINGLE)])
def test_a_rewritten_file_is_chained_again_and_is_what_stays(host: Host, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "conf" / name).write_text(text)
    host.install()
    changed = text.replace("1.0.0", "0.4.0").replace("host-local", "dhcp")
    (tmp_path / "conf" / name).write_text(changed)
    host.install()
    assert types(tmp_path / "conf" / "10-a.conflist")[-1] == "istio-cni"
    host.remove()
    assert files(tmp_path / "conf") == {name: changed}


def test_the_plugin_moves_to_a_file_that_is_now_the_first(host: Host, tmp_path: Path) -> None:
    (tmp_path / "conf" / "20-b.conflist").write_text(LIST)
    host.install()
    (tmp_path / "conf" / "10-a.conflist").write_text(LIST)
    host.install()
    assert types(tmp_path / "conf" / "10-a.conflist")[-1] == "istio-cni"
    assert (tmp_path / "conf" / "20-b.conflist").read_text() == LIST


def test_without_a_network_there_is_nothing_to_chain_into(host: Host, tmp_path: Path) -> None:
    assert "there is no network configuration" in host.install()
    (tmp_path / "conf" / "10-a.conflist").write_text("{")
    with pytest.raises(ValueError, match=r"10-a\.conflist is no JSON"):
        host.install()
