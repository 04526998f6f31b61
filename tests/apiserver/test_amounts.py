"""Numbers, percentages and ports that controllers count with: what they cannot use is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

Object = dict[str, Any]
CONTAINER = {"name": "c", "image": "i"}
PODS = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}}  # fmt: skip
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")


def strategy(kind: str = "RollingUpdate", **rolling: Any) -> Object:
    return {**PODS, "strategy": {"type": kind, "rollingUpdate": rolling}}


def probed(**probe: Any) -> Object:
    return {"containers": [{**CONTAINER, "readinessProbe": probe}]}


def service(**port: Any) -> Object:
    return {"ports": [{"port": 80, **port}]}


@pytest.mark.parametrize(
    ("resource", "spec", "field"),
    [
        (resources.DEPLOYMENTS, strategy(maxSurge="x"), "spec.strategy.rollingUpdate.maxSurge"),
        (resources.DEPLOYMENTS, strategy(maxUnavailable="101%"), "spec.strategy.rollingUpdate.maxUnavailable"),
        (resources.DEPLOYMENTS, strategy(maxSurge=2**63), "spec.strategy.rollingUpdate.maxSurge"),
        (resources.DEPLOYMENTS, strategy(maxSurge=0, maxUnavailable="0%"), "may not be 0 when `maxSurge` is 0"),
        (resources.DEPLOYMENTS, strategy("Recreate"), "spec.strategy.rollingUpdate"),
        (resources.DEPLOYMENTS, strategy("Replace"), "spec.strategy.type"),
        (DAEMON_SETS, {**PODS, "updateStrategy": {"rollingUpdate": {"maxUnavailable": -1}}}, "rollingUpdate.maxUnavailable"),
        (BUDGETS, {"minAvailable": "9" * 5000 + "%"}, "spec.minAvailable"),
        (BUDGETS, {"minAvailable": 2**40}, "spec.minAvailable"),
        (resources.SERVICES, service(targetPort=2**63), "spec.ports[0].targetPort"),
        (resources.SERVICES, service(targetPort="Web"), "spec.ports[0].targetPort"),
        (resources.SERVICES, service(protocol="HTTP"), "spec.ports[0].protocol"),
        (resources.PODS, probed(httpGet={"port": 0}), "readinessProbe.httpGet.port"),
        (resources.PODS, probed(tcpSocket={"port": "a--b"}), "readinessProbe.tcpSocket.port"),
        (resources.PODS, probed(grpc={"port": 70000}), "readinessProbe.grpc.port"),
    ],
)  # fmt: skip
async def test_what_cannot_be_counted_with_is_refused(
    client: Client, namespace: str, resource: Resource, spec: Object, field: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await client.create(resource, {"metadata": {"name": "x", "namespace": namespace}, "spec": spec})
    assert (caught.value.status, field in str(caught.value)) == (422, True), caught.value


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        (resources.DEPLOYMENTS, strategy(maxSurge="200%", maxUnavailable=0)),
        (resources.DEPLOYMENTS, {**PODS, "strategy": {"type": "Recreate"}}),
        (BUDGETS, {"maxUnavailable": "100%"}),
        (resources.SERVICES, service(targetPort="http-1", protocol="UDP")),
        (resources.PODS, probed(httpGet={"port": "web"})),
    ],
)
async def test_what_is_usual_is_admitted(client: Client, namespace: str, resource: Resource, spec: Object) -> None:
    await client.create(resource, {"metadata": {"name": "x", "namespace": namespace}, "spec": spec})


SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("x", "must be a valid IPv4 address"),
        ("::1", "must be a valid IPv4 address"),
        ("127.0.0.1", "loopback range"),
        ("169.254.169.254", "link-local range"),
        ("0.0.0.0", "unspecified"),
        ("224.0.0.1", "multicast range"),
    ],
)
async def test_where_no_endpoint_is(client: Client, namespace: str, address: str, words: str) -> None:
    metadata = {"name": "x", "namespace": namespace}
    made = {"metadata": metadata, "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": []}
    with pytest.raises(ApiError, match=words):
        await client.create(SLICES, made)
    with pytest.raises(ApiError, match=r"subsets\[0\].addresses\[0\].ip" if address != "::1" else "loopback"):
        await client.create(ENDPOINTS, {"metadata": metadata, "subsets": [{"addresses": [{"ip": address}]}]})


async def test_what_is_no_address_of_a_pod(client: Client, namespace: str) -> None:
    metadata = {"name": "x", "namespace": namespace}
    await client.create(resources.PODS, {"metadata": metadata, "spec": {"containers": [CONTAINER]}})
    with pytest.raises(ApiError, match=r"status.podIP: .* must be a valid IP address"):
        await client.patch(resources.PODS, "x", namespace, {"status": {"podIP": "x"}}, sub="status")
    mapped = {"metadata": metadata, "addressType": "IPv6", "endpoints": [{"addresses": ["::ffff:127.0.0.1"]}]}
    with pytest.raises(ApiError, match="loopback range"):
        await client.create(SLICES, mapped)
