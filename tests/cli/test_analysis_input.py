"""What is read of a cluster: each kind in the version that it serves, and which kinds may not be read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sailcloth.cli import analysis_input
from sailcloth.kube import ApiError, Client, Resource


class Server:
    """Serves some kinds in some versions; what it does not serve is 404, what is forbidden 403."""

    def __init__(
        self, served: dict[tuple[str, str], list[dict[str, Any]]], forbidden: frozenset[str] = frozenset()
    ) -> None:
        self.served, self.forbidden = served, forbidden

    async def list(self, resource: Resource, namespace: str = "", **_: str) -> tuple[list[dict[str, Any]], str]:
        if resource.kind in self.forbidden:
            raise ApiError(403, "Forbidden", "")
        items = self.served.get((resource.api_version, resource.kind))
        if items is None:
            raise ApiError(404, "NotFound", "")
        return items, "1"


def read(server: Server) -> tuple[set[str], frozenset[str]]:
    documents, unread = asyncio.run(analysis_input.from_cluster(cast(Client, server), "istio-system"))
    return {f"{d.body['apiVersion']} {d.key}" for d in documents}, unread


def test_the_version_that_is_served() -> None:
    item = {"metadata": {"name": "a", "namespace": "n"}}
    server = Server(
        {
            ("networking.istio.io/v1beta1", "VirtualService"): [item],
            ("networking.istio.io/v1", "Gateway"): [item],
            ("gateway.networking.k8s.io/v1beta1", "Gateway"): [item],
        },
        frozenset({"Secret"}),
    )
    assert read(server) == (
        {
            "networking.istio.io/v1beta1 VirtualService n/a",
            "networking.istio.io/v1 Gateway n/a",
            "gateway.networking.k8s.io/v1beta1 Gateway n/a",
        },
        frozenset({"Secret"}),
    )


def test_other_errors_are_raised() -> None:
    class Broken(Server):
        async def list(self, resource: Resource, namespace: str = "", **_: str) -> tuple[list[dict[str, Any]], str]:
            raise ApiError(500, "InternalError", "x")

    with pytest.raises(ApiError):
        read(Broken({}))
