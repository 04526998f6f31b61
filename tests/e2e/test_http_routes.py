"""An HTTPRoute for a service, in a cluster that got the kind while the mesh was running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .bookinfo import Cluster
from .lab import Lab

Object = dict[str, Any]
GROUP = "gateway.networking.k8s.io"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition() -> Object:
    names = {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute", "listKind": "HTTPRouteList"}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": OPEN, "status": OPEN}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"httproutes.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"},
        },
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[Lab]:
    crd = f"httproutes.{GROUP}"
    standard = json.loads(cluster.kubectl("get", "crd", crd, "-o", "json"))
    standard["metadata"] = {k: standard["metadata"][k] for k in ("name", "annotations")}
    cluster.kubectl("delete", "crd", crd)
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(definition()))
    cluster.kubectl("wait", "--for=condition=Established", "crd", f"httproutes.{GROUP}", "--timeout=20s")
    made = Lab(cluster, "attached")
    for version in ("v1", "v2"):
        spec = {"selector": {"version": version}, "ports": [{"name": "http", "port": 80, "targetPort": 3000}]}
        made.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": version}, "spec": spec})
    yield made
    cluster.kubectl("delete", "namespace", "attached")
    cluster.kubectl("delete", "crd", crd)
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(standard))
    cluster.kubectl("wait", "--for=condition=Established", "crd", crd, "--timeout=20s")


def test_requests_follow_the_route_and_its_status_says_so(lab: Lab) -> None:
    rewrite = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}
    rules = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/two"}}],
            "filters": [rewrite],
            "backendRefs": [{"name": "v2", "port": 80}],
        },
        {"backendRefs": [{"name": "v1", "port": 80}]},
    ]
    parents = [{"group": "", "kind": "Service", "name": "echo"}]
    obj = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r"},
        "spec": {"parentRefs": parents, "rules": rules},
    }
    lab.put(obj)
    lab.cluster.eventually(lambda: {a.version for a in lab.many(6, "http://echo/")} == {"v1"})
    two = lab.ask("http://echo/two/x")
    assert (two.version, two.told["path"]) == ("v2", "/x")
    assert lab.ask("http://echo/two").told["path"] == "/"
    assert lab.ask("http://echo/twofold").version == "v1"
    told = "{.status.parents[0].conditions[*].status} {.status.parents[0].controllerName}"
    shown = ("get", "httproute", "r", "-o", f"jsonpath={told}")
    lab.cluster.eventually(lambda: lab.kubectl(*shown) == "True True istio.io/gateway-controller")
    lab.kubectl("delete", "service", "v2")
    lab.cluster.eventually(lambda: lab.ask("http://echo/two").status == 500)
    reason = ("get", "httproute", "r", "-o", "jsonpath={.status.parents[0].conditions[1].reason}")
    lab.cluster.eventually(lambda: lab.kubectl(*reason) == "BackendNotFound")
    lab.kubectl("delete", "httproute", "r")
    lab.cluster.eventually(lambda: {a.version for a in lab.many(10, "http://echo/")} == {"v1", "v2"})
