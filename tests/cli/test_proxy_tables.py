"""What istioctl's users see of a proxy: descriptions, filters, and JSON in protobuf's own spelling."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sailcloth.analysis import manifests, offline, proxy_tables
from sailcloth.cli import cluster

from ..authorities import DAY, Authority

Object = dict[str, Any]
RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [web]
  http:
    - match: [{uri: {prefix: /api}}, {uri: {exact: /one}}, {uri: {regex: /t.o}}]
      route: [{destination: {host: web}}]
    - route: [{destination: {host: web}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.9.9, selector: {app: client}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-db, port: 3306}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}]
ports: [{name: http, port: 8080}, {name: tcp-db, port: 3306}]
"""


@pytest.fixture(scope="module")
def dump() -> Object:
    objects, findings = manifests.load([RULES])
    assert not findings
    described = offline.describe({"labels": {"app": "client"}, "ip": "10.0.0.1"})
    return offline.config_dump(offline.resources(offline.mesh_of(objects), described))


def rows(dump: Object, part: str, **filters: Any) -> list[list[str]]:
    ((_, found),) = proxy_tables.tables(dump, part, filters)
    return found


def test_listeners_are_told_by_what_they_match_and_where_it_goes(dump: Object) -> None:
    found = rows(dump, "listener")
    assert ["0.0.0.0", "80", "Trans: raw_buffer; App: HTTP", "Route: 80"] in found
    assert ["0.0.0.0", "80", "ALL", "PassthroughCluster"] in found
    assert ["10.96.9.9", "3306", "ALL", "Cluster: outbound|3306||web.default.svc.cluster.local"] in found
    assert ["0.0.0.0", "15006", "Addr: *:15006", "Non-HTTP/Non-TCP"] in found
    assert ["0.0.0.0", "15006", "Trans: raw_buffer; Addr: *:8080", "Cluster: inbound|8080||"] in found
    assert {r[1] for r in rows(dump, "listener", port=80)} == {"80"}
    assert {r[0] for r in rows(dump, "listener", address="10.96.9.9")} == {"10.96.9.9"}
    assert {r[1] for r in rows(dump, "listener", type="tcp")} == {"3306", "15001"}


def test_datagrams_have_a_row_of_their_own() -> None:
    case = Path(__file__).parents[1] / "golden" / "gateway" / "datagrams"
    objects, _ = manifests.load([(case / "input.yaml").read_text()])
    described = offline.describe({"type": "router", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}})
    dump = offline.config_dump(offline.resources(offline.mesh_of(objects), described))
    assert rows(dump, "listener", type="udp") == [["0.0.0.0", "5353", "UDP", "Cluster: udp|53||names.default"]]
    assert ["names.default", "53", "-", "udp", "EDS", ""] in rows(dump, "cluster")


def test_routes_show_the_short_names_and_each_match(dump: Object) -> None:
    found = [r for r in rows(dump, "route", name="80") if r[1] == "web.default.svc.cluster.local:80"]
    assert [r[2:] for r in found] == [
        ["web, web.default + 1 more...", match, "web.default"] for match in ("/api*", "/one", "regex /t.o", "/*")
    ]
    assert rows(dump, "route", name="81") == []


def test_clusters_are_filtered_by_parts_of_their_names(dump: Object) -> None:
    wanted = {"fqdn": "web.default.svc.cluster.local", "port": 3306, "direction": "outbound"}
    assert rows(dump, "cluster", **wanted) == [
        ["web.default.svc.cluster.local", "3306", "-", "outbound", "EDS", ""],
    ]
    assert rows(dump, "cluster", subset="v9") == []


def test_json_is_a_list_in_protobufs_spelling(dump: Object) -> None:
    def shown(part: str, **filters: Any) -> list[Object]:
        return proxy_tables.as_json(part, proxy_tables.entries(dump, part, filters))

    (cluster,) = shown("cluster", fqdn="web.default", port=80)
    assert (cluster["name"], "edsClusterConfig" in cluster) == ("outbound|80||web.default.svc.cluster.local", True)
    assert "istio" in cluster["metadata"]["filterMetadata"]  # names that users give are left alone
    (config,) = shown("route", name="80")
    assert "web.default.svc.cluster.local:80" in [h["name"] for h in config["virtualHosts"]]
    (listener,) = shown("listener", port=80)
    assert "filterChains" in listener
    (status,) = shown("endpoint", port=8080)
    assert status["hostStatuses"][0]["address"]["socketAddress"] == {"address": "10.0.0.1", "portValue": 8080}


def test_endpoints_are_told_with_their_health() -> None:
    def host(address: str, **health: Any) -> Object:
        return {"address": {"socket_address": {"address": address, "port_value": 80}}, "health_status": health}

    name = "outbound|80||web.default.svc.cluster.local"
    hosts = [
        host("10.0.0.1", eds_health_status="HEALTHY"),
        host("10.0.0.2", eds_health_status="HEALTHY", failed_outlier_check=True),
        host("10.0.0.3", eds_health_status="UNHEALTHY"),
    ]
    told = {"cluster_statuses": [{"name": name, "host_statuses": hosts}]}
    assert rows(told, "endpoint") == [
        ["10.0.0.1:80", "HEALTHY", "OK", name],
        ["10.0.0.2:80", "HEALTHY", "FAILED", name],
        ["10.0.0.3:80", "UNHEALTHY", "OK", name],
    ]
    assert [r[0] for r in rows(told, "endpoint", status="unhealthy")] == ["10.0.0.3:80"]
    assert [r[0] for r in rows(told, "endpoint", address="10.0.0.2")] == ["10.0.0.2:80"]
    assert rows(told, "endpoint", cluster="other") == []


def test_what_an_envoy_should_not_have_is_shown(dump: Object) -> None:
    assert list(proxy_tables.differences(dump, dump)) == ["Clusters Match", "Listeners Match", "Routes Match"]
    other = copy.deepcopy(dump)
    for state in proxy_tables.part(other, "cluster")["dynamic_active_clusters"]:
        if state["cluster"]["name"] == "outbound|80||web.default.svc.cluster.local":
            state["cluster"]["connect_timeout"] = "77s"
    clusters, *rest = proxy_tables.differences(dump, other)
    assert rest == ["Listeners Match", "Routes Match"]
    assert "--- Istiod Clusters" in clusters
    assert '-    "connectTimeout": "10s"' in clusters
    assert '+    "connectTimeout": "77s"' in clusters


def test_a_foreign_extension_is_shown_as_it_is() -> None:
    foreign = {
        "name": "a",
        "typed_extension_protocol_options": {"x": {"@type": "type.googleapis.com/istio.unknown.V1"}},
    }
    assert proxy_tables.as_json("cluster", [foreign]) == [foreign]


class Rollout:
    """An API with a Deployment of one pod, while another of it ends and a third starts."""

    async def get(self, *_: Any) -> Object:
        return {"spec": {"selector": {"matchLabels": {"app": "web"}}}}

    async def list(self, *_: Any) -> tuple[list[Object], str]:
        running = {"phase": "Running"}
        ending = {"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": running}
        waiting = {"metadata": {"name": "b"}, "status": {"phase": "Pending"}}
        return [ending, waiting, {"metadata": {"name": "c"}, "status": running}], ""


async def test_a_deployment_stands_for_a_pod_that_runs_and_stays() -> None:
    api: Any = Rollout()
    assert await cluster.pod_name(api, "deploy/web", "default") == "c"


def test_secrets_with_validity_and_trust_domain() -> None:
    first, second = Authority("one"), Authority("two", valid=(-2 * DAY, -DAY))
    leaf, _ = first.leaf("spiffe://mesh.example/ns/default/sa/web")
    chain = leaf.public_bytes(serialization.Encoding.PEM) + first.pem

    def secret(name: str, **content: Object) -> Object:
        return {"name": name, "secret": content}

    encoded = [base64.b64encode(text).decode() for text in (chain, first.pem + second.pem)]
    columns, found = proxy_tables.secrets(
        {
            "dynamic_active_secrets": [
                secret("default", tls_certificate={"certificate_chain": {"inline_bytes": encoded[0]}}),
                secret("ROOTCA", validation_context={"trusted_ca": {"inline_bytes": encoded[1]}}),
            ],
            "dynamic_warming_secrets": [secret("kubernetes://missing")],
        }
    )
    assert columns[3:5] == ["VALID CERT", "SERIAL NUMBER"]
    assert [[r[0], *r[1:4], r[7]] for r in found] == [
        ["default", "Cert Chain", "ACTIVE", "true", "mesh.example"],
        ["ROOTCA", "CA", "ACTIVE", "true", ""],
        ["ROOTCA", "CA", "ACTIVE", "false", ""],
        ["kubernetes://missing", "CA", "WARMING", "false", ""],
    ]
    assert found[0][4] == f"{leaf.serial_number:x}"
    assert found[0][5] == f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
