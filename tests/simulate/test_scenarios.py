"""Where calls go, scenario by scenario: what users write, for whom, and what each call meets."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.controlplane import manifests, mesh_config, offline
from sailcloth.testing.simulate import Call, Result, Simulator

SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: {0}, namespace: default}}
spec: {{clusterIP: 10.0.0.{1}, selector: {{app: {0}}}, ports: [{{name: http, port: 80}}]}}
"""
SERVICES = "".join(SERVICE.format(name, index + 1) for index, name in enumerate("abcd"))


def rule(name: str, spec: str, kind: str = "VirtualService", namespace: str = "default") -> str:
    head = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\n{head}\nspec: {spec}\n"


def simulator(*texts: str, options: str = "", **proxy: Any) -> Simulator:
    objects, findings = manifests.load([SERVICES, *texts])
    assert not findings, [str(f) for f in findings]
    mesh = offline.mesh_of(objects, mesh_config.parse(options))
    return Simulator(offline.config_dump(offline.resources(mesh, offline.describe(proxy))))


def to(host: str) -> str:
    return f"route: [{{destination: {{host: {host}}}}}]"


def cluster(host: str, port: int = 80, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}.default.svc.cluster.local"


def ask(found: Simulator, path: str = "/", host: str = "a", **call: Any) -> Result:
    return found.run(Call(**{"port": 80, "host": host, "path": path, **call}))


def test_conditions_of_a_match() -> None:
    matches = (
        ("{uri: {prefix: /Case}, ignoreUriCase: true}", "b"),
        ("{queryParams: {k: {exact: '1'}}}", "c"),
        ("{queryParams: {any: {}}}", "d"),
        ("{withoutHeaders: {x-user: {exact: jason}}}", "a"),
    )
    rules = ", ".join(f"{{match: [{match}], {to(host)}}}" for match, host in matches)
    found = simulator(rule("a", f"{{hosts: [a], http: [{rules}]}}"))
    assert ask(found, "/cASE/1").cluster == cluster("b")
    assert ask(found, "/?k=1&k=2").cluster == cluster("c")
    assert ask(found, "/?any").cluster == cluster("d")
    assert ask(found, "/?k=2").cluster == cluster("a")
    assert ask(found, headers={"X-User": "jason"}).error == "no route matched"


@pytest.mark.parametrize(
    ("spec", "status", "location"),
    [
        ("{}", 301, "http://a/p/x?q"),
        ("{uri: /new, redirectCode: 307}", 307, "http://a/new"),
        ("{authority: b.com, scheme: https, port: 8443}", 301, "https://b.com:8443/p/x?q"),
        ("{derivePort: FROM_REQUEST_PORT, scheme: http}", 301, "http://a/p/x?q"),
        ("{uri: '%PREFIX()%/other'}", 301, "http://a/other/x?q"),
    ],
)
def test_redirects(spec: str, status: int, location: str) -> None:
    found = simulator(rule("a", f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: /p}}}}], redirect: {spec}}}]}}"))
    result = ask(found, "/p/x?q")
    assert (result.status, result.location) == (status, location)


def test_a_delegate_may_narrow_every_condition() -> None:
    root = f"{{hosts: [a], http: [{{match: [{{method: {{prefix: P}}}}], delegate: {{name: inner}}}}, {{{to('b')}}}]}}"
    inner = f"{{http: [{{match: [{{method: {{exact: PUT}}}}], {to('c')}}}, {{match: [{{method: {{exact: GET}}}}], {to('d')}}}]}}"
    found = simulator(rule("a", root), rule("inner", inner))
    assert ask(found, method="PUT").cluster == cluster("c")
    assert ask(found, method="POST").cluster == cluster("b")
    assert ask(found, method="GET").cluster == cluster("b"), "it does not fit into the root's match"
