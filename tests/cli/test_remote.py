"""`create-remote-secret`: a kubeconfig that a client can use, in the form that Istio's control planes read."""

from __future__ import annotations

import yaml

from sailcloth.cli import discovery_tables, remote


def test_the_secret_holds_a_kubeconfig() -> None:
    made = remote.secret("East", "https://192.0.2.1:6443", "PEM", "token", "remote", "istio-system")
    assert made["metadata"] == {
        "name": "istio-remote-secret-east",
        "namespace": "istio-system",
        "labels": {"istio/multiCluster": "true"},
        "annotations": {"networking.istio.io/cluster": "East"},
    }
    (name,) = made["stringData"]
    config = yaml.safe_load(made["stringData"][name])
    assert (name, config["current-context"]) == ("East", "East")
    assert config["users"] == [{"name": "East", "user": {"token": "token"}}]
    assert config["clusters"][0]["cluster"] == {
        "certificate-authority-data": "UEVN",
        "server": "https://192.0.2.1:6443",
    }


def test_the_reader_may_not_read_secrets_nor_write() -> None:
    role = next(obj for _, obj in remote.reader("reader", "istio-system") if obj["kind"] == "ClusterRole")
    for rule in role["rules"]:
        assert "secrets" not in rule["resources"]
        assert set(rule["verbs"]) <= {"get", "list", "watch"} or rule["resources"] == ["tokenreviews"]


def test_tables_of_eds_and_ecds_and_roots() -> None:
    socket = {"socket_address": {"address": "10.0.0.1", "port_value": 9080}}
    place = {"region": "eu", "zone": "a"}
    host = {"address": socket, "locality": place, "health_status": {"eds_health_status": "HEALTHY"}}
    dump = {
        "cluster_statuses": [{"name": "outbound|9080||web", "host_statuses": [host]}],
        "configs": [
            {
                "@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump",
                "ecds_filters": [
                    {"ecds_filter": {"name": "wasm", "typed_config": {"@type": "type.googleapis.com/envoy.Wasm"}}}
                ],
            },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
                "dynamic_active_secrets": [
                    {"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": "UEVN"}}}}
                ],
            },
        ],
    }
    columns, rows = discovery_tables.eds(dump, {})
    assert columns == ["NAME", "STATUS", "LOCALITY", "CLUSTER"]
    assert rows == [["10.0.0.1:9080", "HEALTHY", "eu/a", "outbound|9080||web"]]
    assert discovery_tables.ecds(dump) == (["ECDS NAME", "TYPE"], [["wasm", "envoy.Wasm"]])
    assert discovery_tables.roots(dump) == "UEVN"
    assert discovery_tables.roots({}) == ""
