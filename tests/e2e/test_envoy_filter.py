"""A user's own patches: they take effect, are counted, go away again, and a wrong one says what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .bookinfo import Cluster

Object = dict[str, Any]
MANAGER = "envoy.filters.network.http_connection_manager"


def lua(context: str, code: str, port: int = 0) -> Object:
    chain = {"filter": {"name": MANAGER, "subFilter": {"name": "envoy.filters.http.router"}}}
    listener: Object = {"filterChain": chain, **({"portNumber": port} if port else {})}
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }
    value = {"name": "envoy.filters.http.lua", "typed_config": config}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": context, "listener": listener},
        "patch": {"operation": "INSERT_BEFORE", "value": value},
    }


def envoy_filter(name: str, namespace: str, selector: dict[str, str], *patches: Object) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"workloadSelector": {"labels": selector}, "configPatches": list(patches)},
    }


def condition(mesh: Cluster, name: str, namespace: str, kind: str) -> str:
    path = f"jsonpath={{.status.conditions[?(@.type=='{kind}')].message}}"
    return mesh.kubectl("get", "envoyfilter", name, "-n", namespace, "-o", path)


@pytest.mark.parametrize(
    ("namespace", "selector", "context"),
    [
        ("istio-system", {"istio": "ingressgateway"}, "GATEWAY"),
        ("default", {"app": "productpage"}, "SIDECAR_INBOUND"),
    ],
)
def test_a_filter_is_inserted_and_taken_out_again(
    mesh: Cluster, namespace: str, selector: dict[str, str], context: str
) -> None:
    code = "function envoy_on_response(handle) handle:headers():add('x-from-lua', 'yes') end"
    nowhere = lua(context, code, port=59999)
    mesh.kubectl(
        "apply", "-f", "-", stdin=json.dumps(envoy_filter("lua", namespace, selector, lua(context, code), nowhere))
    )
    mesh.kubectl("wait", "--for=condition=Programmed", "envoyfilter/lua", "-n", namespace, "--timeout=10s")
    mesh.eventually(lambda: mesh.get("/productpage").headers.get("x-from-lua") == "yes")
    told = condition(mesh, "lua", namespace, "Programmed")
    assert "1/1 proxies; configPatches[0] matched " in told
    assert "configPatches[1] matched nothing" in told
    mesh.kubectl("delete", "envoyfilter", "lua", "-n", namespace)
    mesh.eventually(lambda: "x-from-lua" not in mesh.get("/productpage").headers)


def test_a_wrong_patch_says_what_is_wrong_and_breaks_nothing(mesh: Cluster) -> None:
    wrong = lua("SIDECAR_INBOUND", "")
    wrong["patch"]["value"]["typed_config"] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.nosuch.v3.No"
    }
    obj = envoy_filter("wrong", "default", {"app": "productpage"}, wrong)
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    mesh.eventually(lambda: "there is no such type" in condition(mesh, "wrong", "default", "Accepted"))
    assert mesh.get("/productpage").status == 200
    mesh.kubectl("delete", "envoyfilter", "wrong")


def test_what_envoy_refuses_is_told_in_its_own_words(mesh: Cluster) -> None:
    broken = lua("SIDECAR_INBOUND", "this is not lua (")
    obj = envoy_filter("broken", "default", {"app": "productpage"}, broken)
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    mesh.eventually(lambda: "productpage" in condition(mesh, "broken", "default", "Programmed"))
    assert "script load error" in condition(mesh, "broken", "default", "Programmed")
    assert mesh.get("/productpage").status == 200
    mesh.kubectl("delete", "envoyfilter", "broken")
    mesh.eventually(lambda: "productpage" not in mesh.sailctl("proxy-status") or _synced(mesh))


def _synced(mesh: Cluster) -> bool:
    found = json.loads(mesh.sailctl("proxy-status", "-o", "json"))
    return all(t != "ERROR" for p in found for t in p["types"].values())


def test_a_patch_that_envoy_refuses_is_taken_back_and_keeps_nobody_elses_changes(mesh: Cluster) -> None:
    """Only Envoy itself knows that there is no such command: what is refused is a whole route configuration."""
    header = {"header": {"key": "x-node", "value": "%HOSTNAM%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    patch = {
        "applyTo": "VIRTUAL_HOST",
        "match": {"context": "GATEWAY"},
        "patch": {"operation": "MERGE", "value": {"response_headers_to_add": [header]}},
    }
    obj = envoy_filter("unknown", "istio-system", {"istio": "ingressgateway"}, patch)
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    mesh.eventually(lambda: "HOSTNAM" in condition(mesh, "unknown", "istio-system", "Accepted"))
    assert "refuses it" in condition(mesh, "unknown", "istio-system", "Accepted")
    rule = json.loads(mesh.kubectl("get", "virtualservice", "bookinfo", "-o", "json"))
    rule["spec"]["http"][0]["headers"] = {"response": {"set": {"x-neighbour": "yes"}}}
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(rule))
    mesh.eventually(lambda: mesh.get("/productpage").headers.get("x-neighbour") == "yes")
    header["header"]["value"] = "%HOSTNAME%"  # type: ignore[index]  # the user mends it
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    mesh.kubectl("wait", "--for=condition=Programmed", "envoyfilter/unknown", "-n", "istio-system", "--timeout=10s")
    assert mesh.get("/productpage").headers.get("x-node")
    mesh.kubectl("delete", "envoyfilter", "unknown", "-n", "istio-system")
