"""What a proxy's environment says of its certificate, in a cluster whose certificates end late: the CA remembers until when it signed."""

from __future__ import annotations

import datetime as dt
import json

from cryptography.hazmat.primitives.asymmetric import rsa

from .bookinfo import Cluster
from .test_certificates import leaves


def test_a_proxys_environment_says_what_its_certificate_is(mesh: Cluster) -> None:
    options = "proxyMetadata: {WORKLOAD_RSA_KEY_SIZE: '2048', SECRET_TTL: 1h}"
    template = {"metadata": {"annotations": {"proxy.istio.io/config": options}}}
    mesh.kubectl("patch", "deployment", "details-v1", "-p", json.dumps({"spec": {"template": template}}))
    try:
        mesh.kubectl("rollout", "status", "deployment/details-v1", "--timeout=60s")
        mesh.eventually(lambda: any(isinstance(c.public_key(), rsa.RSAPublicKey) for c in leaves(mesh)))
        [asked] = [c for c in leaves(mesh) if isinstance(c.public_key(), rsa.RSAPublicKey)]
        life = asked.not_valid_after_utc - asked.not_valid_before_utc
        assert dt.timedelta(hours=1) < life < dt.timedelta(hours=2)
        others = [c for c in leaves(mesh) if c.serial_number != asked.serial_number]
        assert {type(c.public_key()).__name__ for c in others} == {"ECPublicKey"}
        assert mesh.get("/productpage").status == 200
    finally:
        mesh.kubectl("rollout", "undo", "deployment/details-v1")
        mesh.kubectl("rollout", "status", "deployment/details-v1", "--timeout=60s")
