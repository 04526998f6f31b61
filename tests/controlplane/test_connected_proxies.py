"""Which proxies an object is in force on."""

from __future__ import annotations

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.api.meta import Key
from sailcloth.controlplane.connected_proxies import ConnectedProxies, ConnectedProxy
from sailcloth.controlplane.secret_access import NO_SECRETS, SecretAccess
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import Connection
from sailcloth.xds.stream import Stream
from sailcloth.xds.types import CLUSTER, ENDPOINTS, SECRET

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


def _joined(proxies: ConnectedProxies, namespace: str) -> ConnectedProxy:
    connection = Connection(Stream(ResponseCache()), namespace)
    return proxies.join(connection, offline.describe({"namespace": namespace, "labels": {"app": namespace}}))


def test_delegates_and_sidecars_are_in_force_where_they_are_used() -> None:
    objects, findings = manifests.load([OBJECTS])
    assert not findings

    async def nobody(_: dict[str, str]) -> None:
        return None

    proxies = ConnectedProxies(offline.mesh_of(objects), nobody)
    shop, third = _joined(proxies, "shop"), _joined(proxies, "third")
    assert proxies.holders(Key("VirtualService", "shop", "root")) == {shop, third}
    assert proxies.holders(Key("VirtualService", "other", "part")) == {shop, third}
    assert proxies.holders(Key("Sidecar", "shop", "default")) == {shop}


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

    proxies = ConnectedProxies(offline.mesh_of(objects), nobody)
    proxy = offline.describe({"namespace": "shop", "labels": {"app": app}})
    client = proxies.join(
        Connection(Stream(ResponseCache()), "peer"),
        proxy,
        SecretAccess(labels=proxy.labels) if verified else NO_SECRETS,
    )
    found = {name for part in client.collections.get(SECRET, ()) for name in part.resources}
    assert found == set(("kubernetes://client", "kubernetes://client-cacert")[:names])


PASSING = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: between, namespace: shop}
spec:
  selector: {istio: eastwest}
  servers: [{port: {number: 15443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}]
---
apiVersion: sailcloth.io/v1alpha1
kind: RateLimit
metadata: {name: limit, namespace: shop}
spec: {workloadSelector: {labels: {istio: eastwest}}, connections: {requests: 2, per: 1h}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: tcp, port: 9000}]}
"""


def test_collections_from_one_list_of_names_all_follow_it() -> None:
    """A gateway's clusters that hand TLS on, and their endpoints, are named by the same value of the graph."""
    objects, findings = manifests.load([PASSING])
    assert not findings
    later = {key: obj for key, obj in objects if key.kind in ("RateLimit", "Service")}

    async def nobody(_: dict[str, str]) -> None:
        return None

    mesh = offline.mesh_of([(key, obj) for key, obj in objects if key not in later])
    proxies = ConnectedProxies(mesh, nobody)
    proxy = offline.describe({"type": "router", "namespace": "shop", "labels": {"istio": "eastwest"}})
    client = proxies.join(Connection(Stream(ResponseCache()), "gateway"), proxy)
    name = "outbound_.9000_._.cart.shop.svc.cluster.local"

    def held(url: str) -> bool:
        return any(name in part.resources for part in client.collections[url])

    def change(kind: str, there: bool) -> None:
        for key, obj in later.items():
            if key.kind == kind:
                mesh.apply(key, obj if there else None)
        proxies.flush()

    change("Service", True)
    assert held(CLUSTER)
    assert held(ENDPOINTS)
    for there in (True, False, True):  # each makes another view of the gateway, and other collections
        change("RateLimit", there)
        assert held(CLUSTER)
    change("Service", False)
    assert not held(CLUSTER)
    assert not held(ENDPOINTS)


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: edge}
  servers:
    - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: client}}
"""


@pytest.mark.parametrize(
    ("access", "names"),
    [
        (SecretAccess(whole_namespace=True), {"client", "client-cacert", "other"}),
        (SecretAccess(labels=(("istio", "edge"),)), {"client", "client-cacert"}),
        (SecretAccess(labels=(("app", "web"),)), set()),
        (SecretAccess(), set()),
    ],
    ids=["may list secrets", "a pod that a Gateway selects", "another pod that says it is a router", "no pod"],
)
def test_a_gateway_gets_what_it_may_list_or_what_gateways_for_its_pod_name(
    access: SecretAccess, names: set[str]
) -> None:
    """What the proxy says of itself does not count: its labels are the Gateway's in each case."""
    objects, findings = manifests.load([OWN, GATEWAY])
    assert not findings
    proxies = ConnectedProxies(offline.mesh_of(objects))
    proxy = offline.describe({"type": "router", "namespace": "shop", "labels": {"istio": "edge"}})
    client = proxies.join(Connection(Stream(ResponseCache()), "peer"), proxy, access)
    found = {name for part in client.collections.get(SECRET, ()) for name in part.resources}
    assert found == {f"kubernetes://{name}" for name in names}
