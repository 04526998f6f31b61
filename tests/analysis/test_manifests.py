"""Manifests are read as an API server would read them."""

from __future__ import annotations

from sailcloth.analysis import manifests
from sailcloth.api.virtual_service import VirtualService

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [b], gateways: null, http: [{match: null, route: [{destination: {host: b, port: null}}]}]}
"""


def test_null_means_absent() -> None:
    ((_, rule),), findings = manifests.load([RULE])
    assert not findings
    assert isinstance(rule, VirtualService)
    assert rule.spec.gateways == ()
    assert rule.spec.http[0].route[0].destination.port is None
