"""Which pods the DaemonSet captures, with which rules, and which it repairs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sailcloth.agent import validation
from sailcloth.cni import pods
from sailcloth.cni.server import Server
from sailcloth.injector.config import InjectorConfig
from sailcloth.injector.inject import inject

NAME = "istio-validation"


def injected(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod as the injector makes it where nodes capture."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "annotations": annotations or {}},
        "spec": {"containers": [{"name": "web", "image": "web"}], **spec},
    }
    return inject(pod, InjectorConfig(cni=True), namespace="shop")


def test_rules_are_those_of_the_pods_annotations() -> None:
    rules = pods.wanted(
        injected(
            {
                "traffic.sidecar.istio.io/excludeOutboundPorts": "3306",
                "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
                "traffic.sidecar.istio.io/excludeInboundPorts": "9000",
            }
        ),
        NAME,
    )
    assert rules is not None
    assert (rules.user, rules.exclude_outbound, rules.include_ranges) == (1337, (3306,), ("10.0.0.0/8",))
    assert {9000, 15020, 15021, 15090} <= set(rules.exclude_inbound)


def test_others_are_left_alone() -> None:
    for pod in (
        {"metadata": {"name": "a"}, "spec": {"containers": []}},
        {**injected(), "metadata": {"name": "a", "annotations": {}}},
    ):
        assert pods.wanted(pod, NAME) is None
    on_host = injected()
    on_host["spec"]["hostNetwork"] = True
    assert pods.wanted(on_host, NAME) is None
    told = injected()
    told["metadata"]["annotations"]["sidecar.istio.io/inject"] = "false"
    assert pods.wanted(told, NAME) is None


@pytest.mark.parametrize(
    ("status", "broken"),
    [
        ({"state": {"terminated": {"exitCode": 126}}}, True),
        ({"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 126}}}, True),
        ({"state": {"terminated": {"exitCode": 0}}, "lastState": {"terminated": {"exitCode": 126}}}, False),
        ({"state": {"terminated": {"exitCode": 1}}}, False),
        ({"state": {"running": {}}}, False),
    ],
)
def test_a_failed_validation_is_repaired_until_it_succeeds(status: dict[str, Any], broken: bool) -> None:
    pod = {"status": {"initContainerStatuses": [{"name": "other"}, {"name": NAME, **status}]}}
    assert pods.is_broken(pod, NAME) is broken


def test_validation_fails_where_nothing_captures() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not validation.is_captured("127.0.0.1", port)
    with pytest.raises(OSError, match="in use"), socket.create_server(("0.0.0.0", port)):
        validation.is_captured("127.0.0.1", port)


class Api:
    """The pods of a cluster."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self._pod = pod

    async def get(self, *_: str) -> dict[str, Any]:
        return self._pod


@pytest.mark.parametrize(
    ("uid", "path", "reason"),
    [("u2", "/var/run/netns/n", "there is another pod shop/web now"), ("u1", "/proc/7/ns/net", "set cni.cniNetnsDir")],
)
async def test_a_request_that_cannot_be_met_says_why(uid: str, path: str, reason: str) -> None:
    server = Server(Api(injected()), Path("/var/run/netns"), NAME)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        await server.add("shop", "web", uid, path)


async def test_the_socket_is_roots(tmp_path: Path) -> None:
    server = Server(Api({}), tmp_path, NAME)  # type: ignore[arg-type]
    async with server.serving(tmp_path / "run" / "s"):
        assert os.stat(tmp_path / "run" / "s").st_mode & 0o777 == 0o600
