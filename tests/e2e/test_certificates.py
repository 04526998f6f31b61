"""Certificates change under load, and no request fails: of workloads, of an intermediate, and of the root."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from cryptography import x509

from ..authorities import Authority
from .bookinfo import KUBECTL, Cluster, Object, new_state
from .fixed_rate import FixedRate
from .test_kills import STRICT

LIFETIME_S = 8
RATE = 20


@pytest.fixture(scope="module")
def mesh() -> Iterator[Cluster]:
    """A cluster of its own, whose certificates live for seconds."""
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    with new_state() as state:
        running = Cluster(state)
        running.start("--workload-cert-ttl", f"{LIFETIME_S}s")
        running.kubectl("apply", "-f", "-", stdin=STRICT)
        running.applied("peerauthentication.security.istio.io/default")
        yield running


def status(mesh: Cluster) -> Object:
    found: Object = json.loads(mesh.sailctl("ca", "status", "-o", "json"))
    return found


def secrets(mesh: Cluster) -> list[Object]:
    """The secrets that some proxies have in use."""
    found = []
    for app in ("productpage", "reviews", "details"):
        dump = json.loads(mesh.sailctl("proxy-config", "secret", f"deployment/{app}-v1", "-o", "json"))
        found += [each["secret"] for each in dump["dynamic_active_secrets"]]
    return found


def certificates(mesh: Cluster) -> set[str]:
    """The certificates of workloads among them."""
    return {s["tls_certificate"]["certificate_chain"]["inline_bytes"] for s in secrets(mesh) if "tls_certificate" in s}


def leaves(mesh: Cluster) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(base64.b64decode(each)) for each in certificates(mesh)]


def plug_in(mesh: Cluster, files: dict[str, bytes]) -> None:
    data = {k: base64.b64encode(v).decode() for k, v in files.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": "istio-system"}}
    mesh.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps({**secret, "data": data}))


def signs(mesh: Cluster, subject: str) -> None:
    mesh.eventually(lambda: status(mesh)["issuer"]["subject"] == subject, 30)


def only_root(mesh: Cluster) -> None:
    """Wait until certificates under older roots have ended, and these are gone."""
    mesh.eventually(lambda: not status(mesh)["retired"], 3 * LIFETIME_S + 10)


def test_no_request_fails_while_certificates_of_workloads_and_the_root_change(mesh: Cluster) -> None:
    with FixedRate(mesh, RATE) as load:
        load.until(RATE)
        before = certificates(mesh)
        assert len(before) == 3
        mesh.eventually(lambda: not certificates(mesh) & before, 2 * LIFETIME_S)
        old = status(mesh)["issuer"]["root"]
        mesh.sailctl("ca", "rotate", "--wait", "--timeout", "30s")
        state = status(mesh)
        assert state["issuer"]["root"] != old
        assert [r["root"] for r in state["retired"]] == [old]
        roots = mesh.kubectl("get", "configmap", "istio-ca-root-cert", "-o", "jsonpath={.data}")
        assert roots.count("BEGIN CERTIFICATE") == 2
        only_root(mesh)
        load.until(LIFETIME_S * RATE)  # under the new root only
        roots = mesh.kubectl("get", "configmap", "istio-ca-root-cert", "-o", "jsonpath={.data}")
        assert roots.count("BEGIN CERTIFICATE") == 1
    assert not load.failed, load.failed[:10]


def test_no_request_fails_while_a_ca_is_plugged_in_and_replaced(mesh: Cluster) -> None:
    one, other = Authority("root one"), Authority("root two")
    with FixedRate(mesh, RATE) as load:
        load.until(RATE)
        plug_in(mesh, Authority("first", one).secret())
        signs(mesh, "CN=first")
        second = Authority("second", Authority("middle", one))
        assert second.above is not None
        # Another intermediate of the same root, and a list of revoked certificates, in which none of these is.
        plug_in(mesh, second.secret(second, second.above, one, revoked=second.revoke(1)))
        signs(mesh, "CN=second")
        mesh.eventually(lambda: mesh.kubectl("get", "configmaps", "-A").count("istio-ca-crl") >= 5)
        mesh.eventually(lambda: any("crl" in json.dumps(s) for s in secrets(mesh)))
        mesh.kubectl("rollout", "restart", "deployment/details-v1")  # whose peers connect anew
        mesh.kubectl("rollout", "status", "deployment/details-v1", "--timeout=60s")
        load.until(LIFETIME_S * RATE)
        plug_in(mesh, Authority("third", other).secret())  # another root
        signs(mesh, "CN=third")
        only_root(mesh)
        mesh.kill("sailcloth.controlplane")  # its next process has the new CA only
        load.until(LIFETIME_S * RATE)
        mesh.kubectl("delete", "secret", "cacerts", "-n", "istio-system")
        mesh.eventually(lambda: status(mesh)["issuer"]["secret"] == "istio-ca-secret", 30)
        only_root(mesh)
        load.until(LIFETIME_S * RATE)
    assert not load.failed, load.failed[:10]


def test_metrics_have_istios_names(mesh: Cluster) -> None:
    text = mesh.kubectl(
        "get", "--raw", "/api/v1/namespaces/istio-system/services/http:istiod:http-monitoring/proxy/metrics"
    )
    values = dict(line.split(" ") for line in text.splitlines() if line.startswith("citadel_server_"))
    assert float(values["citadel_server_success_cert_issuance_count"]) > 0
    assert float(values["citadel_server_root_cert_expiry_seconds"]) > 86_400
    counted = ("csr_count", "csr_parsing_err_count", "authentication_failure_count", "id_extraction_err_count")
    assert all(f"citadel_server_{name}" in values for name in counted)
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:15020/metrics').read().decode())"
    text = mesh.kubectl("exec", "deploy/ratings-v1", "--", "python3", "-c", fetch)
    ends = dict(line.split(" ") for line in text.splitlines() if line.startswith("istio_agent_cert_expiry_seconds"))
    assert float(ends['istio_agent_cert_expiry_seconds{resource_name="default"}']) < 2 * LIFETIME_S
    assert float(ends['istio_agent_cert_expiry_seconds{resource_name="ROOTCA"}']) > 86_400


def test_the_webhooks_go_on_under_the_new_root(mesh: Cluster) -> None:
    """The API server asks the injector over TLS for each pod, and the validation for each rule."""
    mesh.kubectl("rollout", "restart", "deployment/ratings-v1")
    mesh.kubectl("rollout", "status", "deployment/ratings-v1", "--timeout=60s")
    names = "jsonpath={.items[0].spec.containers[*].name} {.items[0].spec.initContainers[*].name}"
    assert "istio-proxy" in mesh.kubectl("get", "pod", "-l", "app=ratings", "-o", names)
