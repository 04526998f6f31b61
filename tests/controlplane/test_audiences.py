"""Which proxies an object is in force on."""

from __future__ import annotations

import pytest

from sailcloth.api.meta import Key
from sailcloth.controlplane import manifests, offline
from sailcloth.controlplane.audiences import Audiences, Client
from sailcloth.envoy.resource import SECRET
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import Connection
from sailcloth.xds.stream import Stream

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: shop}
spec: {hosts: [reviews], http: [{delegate: {name: part, namespace: other}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: other}
spec: {http: [{route: [{destination: {host: reviews.shop.svc.cluster.local}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ["./*", "other/*"]}]}
"""


def _joined(audiences: Audiences, namespace: str) -> Client:
    connection = Connection(Stream(ResponseCache()), namespace)
    return audiences.join(connection, offline.describe({"namespace": namespace, "labels": {"app": namespace}}))


def test_delegates_and_sidecars_are_in_force_where_they_are_used() -> None:
    objects, findings = manifests.load([OBJECTS])
    assert not findings

    async def nobody(_: dict[str, str]) -> None:
        return None

    audiences = Audiences(offline.mesh_of(objects), nobody)
    shop, third = _joined(audiences, "shop"), _joined(audiences, "third")
    assert audiences.holders(Key("VirtualService", "shop", "root")) == {shop, third}
    assert audiences.holders(Key("VirtualService", "other", "part")) == {shop, third}
    assert audiences.holders(Key("Sidecar", "shop", "default")) == {shop}


OWN = """
apiVersion: v1
kind: Secret
metadata: {name: client, namespace: shop}
data: {tls.crt: YQ==, tls.key: Yg==, ca.crt: Yw==}
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: shop}
data: {tls.crt: YQ==, tls.key: Yg==}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bank, namespace: shop}
spec:
  host: bank.example.com
  workloadSelector: {matchLabels: {app: shop}}
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: client}}
"""


@pytest.mark.parametrize(("app", "verified", "names"), [("shop", True, 2), ("shop", False, 0), ("web", True, 0)])
def test_a_sidecar_gets_the_secrets_that_rules_for_its_workload_name(app: str, verified: bool, names: int) -> None:
    objects, findings = manifests.load([OWN])
    assert not findings

    async def nobody(_: dict[str, str]) -> None:
        return None

    audiences = Audiences(offline.mesh_of(objects), nobody)
    proxy = offline.describe({"namespace": "shop", "labels": {"app": app}})
    client = audiences.join(Connection(Stream(ResponseCache()), "peer"), proxy, verified)
    found = {name for part in client.collections.get(SECRET, ()) for name in part.resources}
    assert found == set(("kubernetes://client", "kubernetes://client-cacert")[:names])
