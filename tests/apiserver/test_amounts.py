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
