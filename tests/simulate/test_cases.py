"""Published simulation cases, replayed through `proxy-config --offline`'s own code when they are at hand."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.analysis import manifests, offline
from sailcloth.analysis.simulate import Call, Simulator
from sailcloth.mesh import mesh_config
from sailcloth.testing import validate

CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases"))

# Kinds and options that later work adds; a case that needs one is skipped by name, never by result.
LATER_KINDS: tuple[str, ...] = ()


def _load(name: str, field: str) -> list[dict[str, Any]]:
    path = CASES / name
    if not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text())[field]
    return found


SIMULATION = _load("simulation.json", "simulation")
ROUTES = _load("sidecar_routes.json", "sidecarRoutesCases")


def _skip(case: dict[str, Any]) -> None:
    text = case.get("config", "") + case.get("kubeConfig", "")
    for kind in LATER_KINDS:
        if f"kind: {kind}" in text:
            pytest.skip(f"{kind} is not served yet")


def _proxy(case: dict[str, Any]) -> dict[str, Any]:
    given = case.get("proxy") or {}
    metadata = given.get("Metadata") or {}
    namespace = given.get("ConfigNamespace") or metadata.get("Namespace") or "default"
    return {
        "type": given.get("Type") or "sidecar",
        "namespace": namespace,
        "ip": "1.1.1.1",
        "labels": given.get("Labels") or metadata.get("Labels") or {},
        "dnsDomain": f"{namespace}.svc.cluster.local",
    }


def _simulator(case: dict[str, Any]) -> Simulator:
    objects, findings = manifests.load(
        [case.get("config", ""), case.get("kubeConfig", ""), yaml.safe_dump_all(case.get("configObjects") or [])]
    )
    assert not findings
    options = mesh_config.parse(yaml.safe_dump(case["meshConfig"])) if case.get("meshConfig") else None
    mesh = offline.mesh_of(objects, options)
    dump = offline.config_dump(offline.resources(mesh, offline.describe(_proxy(case))))
    assert _refusal(json.dumps(dump, sort_keys=True), _proxy(case)["type"]) == ""
    return Simulator(dump)


@functools.cache
def _refusal(dump: str, kind: str) -> str:
    return validate.envoy_error(validate.static_bootstrap(json.loads(dump), kind))


def _short(name: str) -> str:
    """The cases read custom resources with an empty cluster domain: `a` in default is `a.default` there."""
    return name.replace(".svc.cluster.local", "")


@pytest.mark.skipif(not SIMULATION, reason="simulation.json is not at hand")
@pytest.mark.parametrize("case", SIMULATION, ids=lambda c: c["test"])
def test_simulation(case: dict[str, Any]) -> None:
    _skip(case)
    simulator = _simulator(case)
    for step in case["calls"]:
        given, expect = step["call"], step["expect"]
        mode = given.get("callMode") or ("gateway" if _proxy(case)["type"] == "router" else "outbound")
        result = simulator.run(
            Call(
                port=given["port"],
                protocol=given.get("protocol", "http"),
                tls=given.get("tls", "plaintext"),
                address=given.get("address", "1.3.3.7"),
                host=given.get("host", ""),
                path=given.get("path", "/"),
                headers={k: v[0] if isinstance(v, list) else v for k, v in (given.get("headers") or {}).items()},
                sni=given.get("sni", ""),
                alpn=given.get("alpn", ""),
                mode=mode,
                secret=given.get("mtlsSecretConfigName", "default"),
            )
        )
        names = {"listener": result.listener, "filterChain": result.filter_chain, "routeConfig": result.route_config,
                 "virtualHost": result.virtual_host, "cluster": result.cluster, "error": result.error}  # fmt: skip
        for field, value in expect.items():
            if field in names:
                assert _short(names[field]) == _short(value), f"{step['name']}: {field}: {result}"


@pytest.mark.skipif(not ROUTES, reason="sidecar_routes.json is not at hand")
@pytest.mark.parametrize("case", ROUTES, ids=lambda c: f"{c['test']}:{c['routeName']}")
def test_sidecar_routes(case: dict[str, Any]) -> None:
    _skip(case)
    simulator = _simulator(case)
    config = simulator.routes[case["routeName"]]
    hosts = {h["name"].rsplit(":", 1)[0]: h for h in config["virtual_hosts"]}
    for name, wanted in case["expectVirtualHosts"].items():
        host = hosts.get(name)
        if wanted is None:
            assert host is None, f"{name} must have no virtual host"
            continue
        assert host is not None, f"{name} is missing; there are {sorted(hosts)}"
        found = [c for r in host["routes"] for c in [r["route"].get("cluster")] if c]
        assert [_short(c) for c in found] == [_short(c) for c in wanted]
