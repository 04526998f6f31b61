"""A gateway with many certificates: what is said of misdirected requests does not grow with the square of their number."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sailcloth.analysis import manifests, offline
from sailcloth.analysis.simulate import Call, Simulator
from sailcloth.testing import validate

Object = dict[str, Any]


def _networking(kind: str, name: str, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _served(*hosts: str, rules: bool = True) -> Object:
    """The config dump of a gateway with a certificate, and a rule, for each host."""
    objects: list[Object] = []
    for number, host in enumerate(hosts):
        tls = {"mode": "SIMPLE", "credentialName": f"c{number}"}
        server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": [host], "tls": tls}
        route = [{"destination": {"host": f"s{number}"}}]
        objects.append(_networking("Gateway", f"g{number}", selector={"istio": "ingressgateway"}, servers=[server]))
        rule = _networking(
            "VirtualService", f"g{number}", hosts=[host], gateways=[f"g{number}"], http=[{"route": route}]
        )
        objects += [rule] if rules else []
    found, _ = manifests.load([yaml.safe_dump_all(objects)])
    proxy = offline.describe({"type": "router", "labels": {"istio": "ingressgateway"}})
    return offline.config_dump(offline.resources(offline.mesh_of(found), proxy))


def _refused(dump: Object, route: str) -> list[str]:
    config = Simulator(dump).routes[route]
    return [d for h in config["virtual_hosts"] if h["name"] == "misdirected" for d in h["domains"]]


@pytest.mark.parametrize(
    ("hosts", "refused"),
    [
        (["a.foo.com", "b.foo.com", "c.bar.com"], ["b.foo.com", "c.bar.com"]),
        (["a.foo.com", *(f"h{n}.foo.com" for n in range(70)), "c.bar.com"], ["*.bar.com", "*.foo.com"]),
        (["a.foo.com", *(f"www.h{n}.com" for n in range(70))], ["*"]),
        (["*.foo.com", *(f"h{n}.foo.com" for n in range(70))], sorted(f"h{n}.foo.com" for n in range(70))),
    ],
    ids=["few", "many of one domain", "many domains", "many below the server's own wildcard"],
)
def test_names_of_other_servers_are_listed_or_their_domains(hosts: list[str], refused: list[str]) -> None:
    dump = _served(*hosts)
    assert _refused(dump, "https.443.https.g0.default") == refused
    assert validate.envoy_error(validate.static_bootstrap(dump, "router")) == ""


def test_a_request_that_another_server_answers_is_sent_away_however_many_there_are() -> None:
    simulator = Simulator(_served("a.foo.com", *(f"www.h{n}.com" for n in range(70))))

    def served(host: str) -> str:
        result = simulator.run(Call(port=443, tls="tls", sni="a.foo.com", host=host, mode="gateway"))
        return result.cluster or result.virtual_host

    assert served("a.foo.com") == "outbound|443||s0.default.svc.cluster.local"
    assert served("www.h7.com") == "misdirected"


def test_a_server_without_rules_answers_404_and_is_accepted() -> None:
    dump = _served("a.foo.com", *(f"www.h{n}.com" for n in range(70)), rules=False)
    (host,) = Simulator(dump).routes["https.443.https.g0.default"]["virtual_hosts"]
    assert host["domains"] == ["*"]
    assert validate.envoy_error(validate.static_bootstrap(dump, "router")) == ""
