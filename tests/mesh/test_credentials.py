"""What a gateway's servers lack of the Secrets that they name."""

from __future__ import annotations

import base64

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.api.gateway import ServerTLSSettings
from sailcloth.mesh import credentials

PEM = base64.b64encode(b"-----BEGIN X-----").decode()
SECRET = """
apiVersion: v1
kind: Secret
metadata: {{name: shop, namespace: gateways}}
data: {{{data}}}
"""
PAIR = f"tls.crt: {PEM}, tls.key: {PEM}"


@pytest.mark.parametrize(
    ("data", "mode", "told"),
    [
        (PAIR, "SIMPLE", []),
        (f"cert: {PEM}, key: {PEM}", "SIMPLE", []),
        (f"{PAIR}, ca.crt: {PEM}", "MUTUAL", []),
        (PAIR, "MUTUAL", ["Secret shop in gateways has no ca.crt"]),
        (f"tls.crt: {PEM}", "SIMPLE", ["Secret shop in gateways has no tls.crt with tls.key"]),
        (f"tls.crt: YWJj, tls.key: {PEM}", "SIMPLE", ["tls.crt of Secret shop in gateways is not PEM"]),
        ("tls.crt: YWJj, tls.key: YWJj", "SIMPLE", ["tls.crt and tls.key of Secret shop in gateways are not PEM"]),
    ],
)
def test_what_a_secret_lacks(data: str, mode: str, told: list[str]) -> None:
    objects, findings = manifests.load([SECRET.format(data=data)])
    assert not findings
    tls = ServerTLSSettings(mode=mode, credential_name="shop")  # type: ignore[arg-type]
    assert credentials.missing(offline.mesh_of(objects).graph, "gateways", tls) == told


def test_a_secret_in_another_namespace_does_not_count() -> None:
    objects, _ = manifests.load([SECRET.format(data=PAIR)])
    tls = ServerTLSSettings(mode="MUTUAL", credential_name="shop")
    told = ["there is no Secret shop in other, where the gateway is"]
    assert credentials.missing(offline.mesh_of(objects).graph, "other", tls) == told
