"""Each analyzer over small sets of objects (`analyzers.yaml`): what it finds, and where."""

from __future__ import annotations

import base64
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.analysis import manifests
from sailcloth.analysis.analyzers import (
    ANALYZERS,
    MESSAGES,
    ObjectSet,
    defaults,
    document,
    multiple_clusters,
    run,
)
from sailcloth.analysis.analyzers.catalogue import rendered
from tests.authorities import Authority

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("analyzers.yaml").read_text())
PACKAGE = Path(str(multiple_clusters.__file__)).parent

# Codes that no analyzer of one set of objects gives, and why.
ELSEWHERE = {
    "IST0001": "analyzers are pure functions; an error in one is our bug, and is raised",
    "IST0141": "of a check before installation",
    "IST0142": "of a check before installation",
    "IST0143": "Istio has no caller of it, either",
    "IST0156": "of a check before installation",
    "IST0168": "of a check before an upgrade",
    "IST0169": "of a check before an upgrade",
    "IST0170": "compares several clusters: `multiple_clusters.services`",
    "IST0172": "of a check before installation",
    "SAIL1101": "needs a key: `test_certificates_of_gateways`",
}


def objects_of(text: str, **options: str) -> ObjectSet:
    """The objects of a text, with the ingress gateway of an installation."""
    return ObjectSet([*defaults.documents(), *(document(body) for body in manifests.documents(text))], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_findings(case: dict[str, Any]) -> None:
    options = {name: case[name] for name in ("mesh_config", "mesh_networks") if name in case}
    found = run(objects_of(case["objects"], **options), case["analyzers"])
    assert sorted(f"{f.code} {f.resource} {f.path}" for f in found) == sorted(case["expect"])


def test_every_code_has_a_case_or_a_reason() -> None:
    tested = {line.split()[0] for case in CASES for line in case["expect"]}
    assert set(MESSAGES) - tested == set(ELSEWHERE)


def test_every_code_in_the_sources_is_in_the_catalogue() -> None:
    named = {c for p in PACKAGE.glob("*.py") for c in re.findall(r'"((?:IST|SAIL)\d{4})"', p.read_text())}
    assert named <= set(MESSAGES)


def test_every_kind_of_object_may_have_any_shape() -> None:
    """What a user writes may have any type anywhere; analyzers neither raise nor loop."""
    kinds = {(d["apiVersion"], d["kind"]) for case in CASES for d in manifests.documents(case["objects"])}
    for spec in (
        None,
        [],
        "x",
        {"http": "x"},
        {"http": [None, {"route": {}}]},
        {"servers": [1, {"hosts": 3, "port": []}]},
    ):
        bodies = [{"apiVersion": v, "kind": k, "metadata": {"name": "x", "labels": [], "annotations": {"a": None}}, "spec": spec}
                  for v, k in sorted(kinds)]  # fmt: skip
        run(ObjectSet(map(document, bodies)))
    run(
        ObjectSet(
            document({"apiVersion": v, "kind": k, "metadata": None, "status": "x", "webhooks": 1}) for v, k in kinds
        )
    )


def test_values_are_printed_as_go_prints_them() -> None:
    assert rendered("%s %v %d %q %v %q", ("a", "b", 3, 'c"d', ["x", 1], ["y", "z"])) == 'a b 3 "c\\"d" [x 1] ["y" "z"]'
    with pytest.raises(ValueError, match="does not take 0 values"):
        rendered("%s", ())


def test_what_could_not_be_read_is_not_missed() -> None:
    gateway = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {selector: {istio: ingressgateway}, servers: [{tls: {credentialName: c}}]}}"
    assert [f.code for f in run(objects_of(gateway), ["gateway.SecretAnalyzer"])] == ["IST0101"]
    unread = ObjectSet(objects_of(gateway).all(), unread=frozenset({"Secret"}))
    assert run(unread, ["gateway.SecretAnalyzer"]) == []


def test_names_of_analyzers() -> None:
    assert len({a.name for a in ANALYZERS}) > 40
    assert all(a.description for a in ANALYZERS)
    with pytest.raises(ValueError, match="no analyzer 'nonsense'"):
        run(objects_of(""), ["nonsense"])


def test_certificates_of_gateways() -> None:
    """A Secret with a valid pair, with the key of another certificate, and with a certificate that has expired."""
    owner, other = Authority("owner"), Authority("other")
    now = owner.certificate.not_valid_before_utc

    def found(chain: bytes, key: bytes, at: dt.datetime) -> list[str]:
        secret = {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(key).decode()}
        gateway = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {selector: {istio: ingressgateway}, servers: [{tls: {credentialName: c}}]}}"
        stored = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "c", "namespace": "istio-system"},
            "data": secret,
        }
        objects = ObjectSet([*objects_of(gateway).all(), document(stored)], now=at)
        return [f.code for f in run(objects, ["gateway.SecretAnalyzer", "sailcloth.certificates"])]

    assert found(owner.pem, owner.key_pem, now) == []
    assert found(owner.pem, other.key_pem, now) == ["SAIL1101"]
    assert found(owner.pem, owner.key_pem, now + dt.timedelta(days=365)) == ["IST0161"]


def test_services_of_several_clusters() -> None:
    text = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: %s}]}}"
    clusters = {"one": objects_of(text % 80), "two": objects_of(text % 81)}
    assert [f"{f.code} {f.resource}" for f in multiple_clusters.services(clusters)] == ["IST0170 Service default/s"]
    assert list(multiple_clusters.services({"one": clusters["one"], "two": objects_of(text % 80)})) == []
