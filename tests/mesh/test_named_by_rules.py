"""What a VirtualService names beside hosts, and what is said when it does not exist."""

from __future__ import annotations

import yaml

from sailcloth.analysis import manifests, offline
from sailcloth.api.meta import Key
from sailcloth.mesh import virtual_services

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [mesh, front, edge/outer]
  http:
    - match: [{uri: {prefix: /pay}}]
      delegate: {name: pay, namespace: money}
    - delegate: {name: rest}
"""
GATEWAY = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: front, namespace: default}, spec: {servers: []}}"
KEY = Key("VirtualService", "default", "shop")


def rule(name: str, namespace: str, **spec: object) -> str:
    metadata = {"name": name, "namespace": namespace}
    spec = {"http": [{"route": [{"destination": {"host": "shop"}}]}], **spec}
    return yaml.safe_dump(
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}
    )


def missing(*texts: str) -> list[str]:
    return virtual_services.missing_references(offline.mesh_of(manifests.load([RULE, *texts])[0]).graph, KEY)


def test_gateways_and_delegates_that_do_not_exist_are_named() -> None:
    assert missing(GATEWAY, rule("rest", "default")) == [
        "gateway edge/outer does not exist",
        "http[0].delegate: no VirtualService money/pay without hosts is exported to default",
    ]


def test_a_delegate_with_hosts_or_for_others_is_none() -> None:
    told = missing(GATEWAY, rule("rest", "default", hosts=["a"]), rule("pay", "money", exportTo=["."]))
    assert [t.partition(":")[0] for t in told] == [
        "gateway edge/outer does not exist",
        "http[0].delegate",
        "http[1].delegate",
    ]


def test_an_object_that_is_gone_lacks_nothing() -> None:
    assert virtual_services.missing_references(offline.mesh_of([]).graph, KEY) == []
