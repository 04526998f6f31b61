"""Words and options of istioctl: global options anywhere, what is not there yet, and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sailcloth.analysis.analyzers import document
from sailcloth.cli import admin, go_flags, later, main, precheck, version


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Sailctl = Callable[..., Done]


@pytest.fixture
def sailctl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sailctl:
    """Runs a command in this process, without a cluster."""
    for name in ("KUBECONFIG", "SAILCLOTH_HOME"):
        monkeypatch.setenv(name, "/nonexistent")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sailctl", *arguments])
        with pytest.raises(SystemExit) as end:
            main.run()
        printed = capsys.readouterr()
        return Done(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.mark.parametrize("word", ["operator", "waypoint", "ztunnel-config", "zc"])
def test_what_is_not_there_yet_says_so_in_one_line(sailctl: Sailctl, word: str) -> None:
    done = sailctl(word, "generate", "--set", "profile=demo", "-y")
    assert done.returncode == 64
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: {later.ALIASES.get(word, word)}: ")
    assert done.stderr.count("\n") == 1


def test_every_word_that_is_not_there_yet_is_registered_by_one_module() -> None:
    assert {*later._WORDS, *later.ALIASES} == set(main.COMMANDS["later"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nosuch",), 64, "No such command"),
        (("proxy-status", "--nosuch"), 64, "No such option"),
        (("proxy-config", "cluster"), 64, "name a pod"),
        (("proxy-config", "cluster", "a", "b"), 64, "only rootca-compare takes two pods"),
        (("proxy-config", "rootca-compare", "a"), 64, "name two pods"),
        (("tag", "set", "prod"), 64, "--revision is missing"),
        (("tag", "set", "Prod_1", "-r", "x"), 64, "cannot be a label's value"),
        (("admin", "log", "--level", "ads:debug", "--reset"), 64, "not both"),
        (("bug-report", "--start-time", "yesterday"), 64, "is no time"),
        (("bug-report", "--duration", "soon"), 64, "--duration"),
        (("bug-report", "--include", "shop/web"), 64, "take namespaces only"),
        (("bug-report", "--duration", "5m", "--start-time", "2026-01-01"), 64, "not both"),
        (("create-remote-secret", "--type", "x"), 64, "use remote, config"),
        (("create-remote-secret", "--auth-type", "plugin"), 64, "use bearer-token"),
        (("x", "check-inject", "-l", "a"), 64, "not of the form NAME=VALUE"),
        (("x", "envoy-stats", "pod", "-o", "xml"), 64, "use short, json, prom, yaml, prom-merged"),
        (("x", "envoy-stats", "pod", "--type", "x"), 64, "use server, clusters"),
        (("get", "nonsense"), 64, "known are authorizationpolicy"),
        (("create", "-f", "/nonexistent"), 65, "No such file"),
        (("delete",), 64, "name a KIND"),
        (("register", "mysql", "here", "tcp:3306"), 64, "is no IP address"),
        (("register", "mysql", "192.0.2.1", "tcp:99999"), 64, "is no port"),
        (("convert-ingress", "-f", "/nonexistent"), 65, "No such file"),
        (("version", "--remote"), 1, "set KUBECONFIG"),
        (("install", "--set", "profile"), 64, "must be of the form PATH=VALUE"),
        (("install", "--set", "profile=nosuch"), 65, "use default, demo, minimal, empty, preview"),
        (("install", "--set", "pilot.replicaCount=two"), 65, "pilot.replicaCount: must be an integer, not 'two'"),
        (("install", "--set", "components.ztunnel.enabled=true"), 65, "ambient mode is not there yet"),
        (("install", "--set", "profile=empty", "-y"), 1, "has no components"),
        (("install", "--revision", "Canary_1", "-y"), 65, "values.revision: must have the form"),
        (("install", "-f", "/nonexistent"), 65, "No such file"),
        (("install", "--readiness-timeout", "soon"), 64, "is no duration"),
        (("install", "-y"), 1, "set KUBECONFIG"),
        (("upgrade", "-y"), 1, "set KUBECONFIG"),
        (("uninstall", "-y"), 1, "set KUBECONFIG"),
        (("verify-install",), 1, "set KUBECONFIG"),
        (("manifest", "generate", "--component", "Ztunnel"), 64, "use Base, Cni, Pilot"),
        (("manifest", "diff", "/nonexistent", "/nonexistent"), 65, "No such file"),
        (("profile", "dump", "nosuch"), 64, "there is no profile 'nosuch'"),
        (("profile", "dump", "-o", "xml"), 64, "use yaml or json"),
    ],
)
def test_exit_codes(sailctl: Sailctl, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = sailctl(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_a_group_alone_shows_its_help(sailctl: Sailctl) -> None:
    done = sailctl("tag")
    assert done.returncode == 0
    assert "sailctl tag set prod --revision default" in done.stdout


def test_options_before_the_command_go_behind_it() -> None:
    assert go_flags.reordered(["-n", "shop", "--context=c", "pc", "cluster", "a"]) == [
        *("pc", "cluster", "a"),
        *("-n", "shop", "--context=c"),
    ]
    assert go_flags.reordered(["help", "tag", "set"]) == ["tag", "set", "--help"]
    assert go_flags.reordered(["-n", "shop"]) == ["-n", "shop"]
    assert go_flags.reordered(["version", "-o", "json"]) == ["version", "-o", "json"]


def test_global_options_are_taken_unless_the_command_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (go_flags.CONTEXT, go_flags.ROOT):  # so that they are as before at the end
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("KUBECONFIG", "before")
    left = go_flags.take_global(
        ["a", "--context", "east", "-i=mesh", "--kubeconfig", "k", "--", "--context", "x"], {"--kubeconfig"}
    )
    assert left == ["a", "--kubeconfig", "k", "--", "--context", "x"]
    assert (os.environ[go_flags.CONTEXT], os.environ[go_flags.ROOT]) == ("east", "mesh")
    assert os.environ["KUBECONFIG"] == "before"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("debug", {"ads": "debug", "ca": "debug"}),
        ("all:warn,ca:none", {"ads": "warn", "ca": "none"}),
        ("ads:error", {"ads": "error"}),
        ("", {}),
    ],
)
def test_log_levels(text: str, wanted: dict[str, str]) -> None:
    assert admin.levels(text, ["ads", "ca"]) == wanted


@pytest.mark.parametrize(("text", "problem"), [("loud", "unknown level 'loud'"), ("sea:info", "unknown scope 'sea'")])
def test_wrong_log_levels(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        admin.levels(text, ["ads", "ca"])


def test_lines_of_versions() -> None:
    info = {"version": "1.30.0"}
    proxies = [{"ID": n, "IstioVersion": v} for n, v in (("a", "1.30.0"), ("b", "1.29.1"), ("c", "1.30.0"))]
    shown = {"clientVersion": {"version": "0.1"}, "meshVersion": [{"Component": "pilot", "Info": info}]}
    assert version.lines({**shown, "dataPlaneVersion": proxies}, True) == [
        "client version: 0.1",
        "control plane version: 1.30.0",
        "data plane version: 1.29.1 (1 proxy), 1.30.0 (2 proxies)",
    ]
    assert version.lines({**shown, "dataPlaneVersion": []}, True)[-1] == "data plane version: none"


def test_a_cluster_that_is_too_old() -> None:
    assert precheck.version({"major": "1", "minor": "33+"}) == []
    assert "older than 1.29" in precheck.version({"major": "1", "minor": "24", "gitVersion": "v1.24.3"})[0]["message"]


def test_definitions_of_the_gateway_api_that_are_too_old() -> None:
    def crd(version: str) -> dict[str, object]:
        notes = {"gateway.networking.k8s.io/bundle-version": version}
        return {"metadata": {"annotations": notes}, "spec": {"group": "gateway.networking.k8s.io"}}

    assert precheck.definitions([crd("v1.2.1")]) == []
    assert precheck.definitions([]) == []
    assert precheck.definitions([crd("v0.8.0")])[0]["level"] == "Warning"


def test_precheck_names_other_meshes_and_old_kinds() -> None:
    istio = {"metadata": {"name": "istio-sidecar-injector", "labels": {"istio.io/rev": "default"}}}
    (error,) = precheck.meshes([istio], "")
    assert (error["level"], "--revision sailcloth" in error["message"]) == ("Error", True)
    (info,) = precheck.meshes([istio], "sailcloth")
    assert info["level"] == "Info"
    managers = [{"manager": "istiod", "operation": "Apply"}]
    assert precheck.meshes([{"metadata": {**istio["metadata"], "managedFields": managers}}], "") == []

    versions = [{"name": "v1beta1", "served": True}, {"name": "v1", "served": False}]
    old = {"metadata": {"name": "virtualservices.networking.istio.io"}, "spec": {"versions": versions}}
    (finding,) = precheck.kinds([old])
    assert "serves v1beta1, but not v1" in finding["message"]


def test_precheck_names_objects_that_would_not_be_in_force() -> None:
    plugin = {"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {"name": "a"}}
    bad = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "b"},
        "spec": {"hosts": ["b"], "http": [{"timeout": "1us", "route": [{"destination": {"host": "b"}}]}]},
    }
    found = precheck.objects([document(plugin), document(bad)])
    assert ["not there yet" in found[0]["message"], "spec.http[0].timeout" in found[1]["message"]] == [True, True]


@pytest.mark.parametrize("option", ["--status", "--type", "--direction"])
def test_an_unknown_value_of_a_filter_is_refused(sailctl: Sailctl, option: str) -> None:
    done = sailctl("proxy-config", "endpoint", "-f", "/nonexistent", option, "sick")
    assert (done.returncode, f"{option}: unknown 'sick'; use " in done.stderr) == (64, True)
