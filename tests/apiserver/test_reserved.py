"""What belongs to the cluster or to the machine is not to be had by naming it."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client

from .test_access import ROLES

Object = dict[str, Any]


def service(port: Object | None = None, **spec: Any) -> Object:
    return {"ports": [{"port": 80, **(port or {})}], **spec}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (service({"nodePort": 22}, type="NodePort"), "The range of valid ports is 30000-32767"),
        (service({"nodePort": 70000}, type="LoadBalancer"), "The range of valid ports is 30000-32767"),
        (service({"nodePort": 30123}), "may not be used when `type` is 'ClusterIP'"),
        (service(clusterIP="8.8.8.8"), "The range of valid IPs is 10.96.0.0/16"),
        (service(clusterIP="127.0.0.1"), "The range of valid IPs is"),
        (service(clusterIP="x"), "The range of valid IPs is"),
        (service(clusterIP="10.96.0.1"), "provided IP is already allocated"),
        (service(externalIPs=["127.0.0.1"]), "loopback range"),
        (service(externalIPs=["169.254.169.254"]), "link-local range"),
        (service(type="ExternalName", externalName="a b"), "spec.externalName"),
        (service({"name": "A_b"}), r"spec.ports\[0\].name"),
        (service(sessionAffinity="Yes"), "spec.sessionAffinity"),
        (service(type="NodePort", externalTrafficPolicy="Near"), "spec.externalTrafficPolicy"),
    ],
)
async def test_of_services(client: Client, namespace: str, spec: Object, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        await client.create(resources.SERVICES, {"metadata": {"name": "s", "namespace": namespace}, "spec": spec})
    assert caught.value.status == 422


async def test_a_service_keeps_what_it_has(client: Client, namespace: str) -> None:
    metadata = {"name": "s", "namespace": namespace}
    made = await client.create(resources.SERVICES, {"metadata": metadata, "spec": service(type="NodePort")})
    changed = await client.patch(resources.SERVICES, "s", namespace, {"spec": {"selector": {"a": "b"}}})
    for key in ("clusterIP", "clusterIPs", "ports"):
        assert changed["spec"][key] == made["spec"][key]


@pytest.mark.parametrize("name", [".", "..", "a/b", "a%b"])
async def test_a_name_is_one_part_of_a_path(client: Client, namespace: str, name: str) -> None:
    with pytest.raises(ApiError, match=r"metadata.name: Invalid value: .* may not") as caught:
        await client.create(ROLES, {"metadata": {"name": name, "namespace": namespace}, "rules": []})
    assert caught.value.status == 422


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_namespaces_of_every_cluster_stay(client: Client, name: str) -> None:
    with pytest.raises(ApiError, match="this namespace may not be deleted") as caught:
        await client.delete(resources.NAMESPACES, name)
    assert caught.value.status == 403
