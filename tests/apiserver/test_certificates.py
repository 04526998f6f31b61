"""Users by certificate: the published walk-through with stock kubectl, and what the cluster does not sign."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Kubectl, Server, until

Object = dict[str, Any]
REQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
CLIENT = "kubernetes.io/kube-apiserver-client"
_numbers = itertools.count()


def key_and_request(name: str, *groups: str, key: Any = None) -> tuple[bytes, str]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, base64.b64encode(pem).decode()


PEM = key_and_request("eve")[1]


def request(pem: str, **spec: Any) -> Object:
    spec = {"request": pem, "signerName": CLIENT, "usages": ["client auth"], **spec}
    metadata = {"name": f"request-{next(_numbers)}"}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": metadata,
        "spec": spec,
    }


async def test_a_user_is_made_with_kubectl(kubectl: Kubectl, client: Client, server: Server, tmp_path: Path) -> None:
    key, pem = key_and_request("jane", "frontend")
    made = request(pem, expirationSeconds=86_400)
    name = made["metadata"]["name"]
    await kubectl("apply", "-f", "-", input=made)
    heads, row = (await kubectl("get", "csr", name)).splitlines()
    assert heads.split() == ["NAME", "AGE", "SIGNERNAME", "REQUESTOR", "REQUESTEDDURATION", "CONDITION"]
    assert row.split()[2:] == [CLIENT, "kubernetes-admin", "24h", "Pending"]
    assert f"{name} approved" in await kubectl("certificate", "approve", name)

    async def signed() -> str:
        return await kubectl("get", "csr", name, "-o", "jsonpath={.status.certificate}")

    certificate = base64.b64decode(await until("the certificate", signed))
    assert (await kubectl("get", "csr", name, "--no-headers")).split()[-1] == "Approved,Issued"
    read = x509.load_pem_x509_certificate(certificate)
    life = read.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=23) < life <= dt.timedelta(hours=24)
    assert "jane" in await kubectl("describe", "csr", name)

    (tmp_path / "jane.pem").write_bytes(certificate + key)
    cluster = yaml.safe_load(server.kubeconfig.read_text())["clusters"][0]["cluster"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    context.load_cert_chain(tmp_path / "jane.pem")
    pods = f"{server.url}/api/v1/namespaces/{kubectl.namespace}/pods"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as jane:
        async with jane.get(pods) as response:
            assert response.status == 403
            assert 'User "jane" cannot list' in (await response.json())["message"]
        await kubectl("create", "role", "reads", "--verb=list", "--resource=pods")
        await kubectl("create", "rolebinding", "reads", "--role=reads", "--group=frontend")
        async with jane.get(pods) as response:
            assert response.status == 200
    await client.delete(REQUESTS, name)


async def test_a_denied_request_stays_without(kubectl: Kubectl, client: Client) -> None:
    made = await client.create(REQUESTS, request(key_and_request("eve")[1]))
    name = made["metadata"]["name"]
    await kubectl("certificate", "deny", name)
    assert (await kubectl("get", "csr", name, "--no-headers")).split()[-1] == "Denied"
    both = {"status": {"conditions": [{"type": t, "status": "True"} for t in ("Denied", "Approved")]}}
    for change, text in ((both, "mutually exclusive"), ({"status": {"conditions": []}}, "may not remove")):
        with pytest.raises(ApiError, match=text):
            await client.patch(REQUESTS, name, "", change, sub="approval")
    await client.delete(REQUESTS, name)


async def test_who_asks_is_who_sends_and_the_request_stays_as_it_was(client: Client) -> None:
    sent = request(key_and_request("eve")[1], username="somebody", groups=["system:masters"])
    sent["status"] = {"conditions": [{"type": "Approved", "status": "True"}]}
    made = await client.create(REQUESTS, sent)
    assert made["spec"]["username"] == "kubernetes-admin"
    assert not made.get("status")
    name = made["metadata"]["name"]
    change = {
        "spec": {"signerName": "example.com/other"},
        "status": {"conditions": [{"type": "Approved", "status": "True"}]},
    }
    changed = await client.patch(REQUESTS, name, "", change)
    assert (changed["spec"], changed.get("status") or {}) == (made["spec"], {})
    await client.delete(REQUESTS, name)


@pytest.mark.parametrize(
    ("key", "usages", "text"),
    [
        (None, ["server auth"], "client auth"),
        (None, ["client auth", "server auth"], "no other"),
        (rsa.generate_private_key(65537, 1024), ["client auth"], "too short"),
    ],
    ids=["server", "both", "short"],
)
async def test_what_the_signer_does_not_sign_fails_in_words(
    kubectl: Kubectl, client: Client, key: Any, usages: list[str], text: str
) -> None:
    made = await client.create(REQUESTS, request(key_and_request("eve", key=key)[1], usages=usages))
    name = made["metadata"]["name"]
    await kubectl("certificate", "approve", name)

    async def failed() -> str:
        return await kubectl("get", "csr", name, "-o", "jsonpath={.status.conditions[?(@.type=='Failed')].message}")

    assert text in await until("the refusal", failed)
    other = await client.create(REQUESTS, request(key_and_request("eve")[1], signerName="example.com/mine"))
    await kubectl("certificate", "approve", other["metadata"]["name"])
    for one in (name, other["metadata"]["name"]):
        assert "certificate" not in (await client.get(REQUESTS, one))["status"]
        await client.delete(REQUESTS, one)


async def test_another_signer_issues_once(kubectl: Kubectl, client: Client) -> None:
    made = await client.create(REQUESTS, request(key_and_request("eve")[1], signerName="example.com/mine"))
    name = made["metadata"]["name"]
    await kubectl("certificate", "approve", name)
    first, second = (base64.b64encode(word).decode() for word in (b"first", b"second"))
    issued = await client.patch(REQUESTS, name, "", {"status": {"certificate": first}}, sub="status")
    assert [c["type"] for c in issued["status"]["conditions"]] == ["Approved"]
    with pytest.raises(ApiError, match="stays as it is"):
        await client.patch(REQUESTS, name, "", {"status": {"certificate": second}}, sub="status")
    await client.delete(REQUESTS, name)


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ({"request": key_and_request("eve", "system:masters")[1]}, 403, "system:masters group is not allowed"),
        ({"request": key_and_request("eve", "system:nodes")[1]}, 403, "system:nodes group is not allowed"),
        ({"request": base64.b64encode(b"junk").decode()}, 422, "CERTIFICATE REQUEST"),
        ({"request": ""}, 422, "CERTIFICATE REQUEST"),
        ({"usages": []}, 422, "usages"),
        ({"usages": ["client auth", "world domination"]}, 422, "world domination"),
        ({"signerName": "mine"}, 422, "fully qualified"),
        ({"expirationSeconds": 60}, 422, "less than 600"),
    ],
    ids=lambda v: "" if isinstance(v, dict) else str(v),
)
async def test_a_bad_request_is_refused(client: Client, spec: Object, code: int, text: str) -> None:
    with pytest.raises(ApiError, match=text) as refused:
        await client.create(REQUESTS, request(**{"pem": PEM, **spec}))
    assert refused.value.status == code


async def test_approving_is_a_right_of_its_own(kubectl: Kubectl, client: Client) -> None:
    made = await client.create(REQUESTS, request(key_and_request("eve")[1]))
    name, user = made["metadata"]["name"], f"approver-{kubectl.namespace}"
    await kubectl(
        "create", "clusterrole", user, "--verb=get,update,patch",
        "--resource=certificatesigningrequests.certificates.k8s.io,certificatesigningrequests.certificates.k8s.io/approval",
    )  # fmt: skip
    await kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")
    refused = await kubectl.run("certificate", "approve", name, "--as", user)
    assert "not permitted to approve" in refused.err
    rule = {
        "verbs": ["approve"],
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["signers"],
        "resourceNames": ["kubernetes.io/*"],
    }
    patch = f'[{{"op":"add","path":"/rules/-","value":{json.dumps(rule)}}}]'
    await kubectl("patch", "clusterrole", user, "--type=json", "-p", patch)
    await kubectl("certificate", "approve", name, "--as", user)
    for words in (("csr", name), ("clusterrole", user), ("clusterrolebinding", user)):
        await kubectl("delete", *words)
