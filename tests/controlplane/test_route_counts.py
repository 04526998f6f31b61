"""The status of a route says how many proxies have it, once that is settled."""

from __future__ import annotations

from typing import Any, cast

from sailcloth.api.meta import Key
from sailcloth.controlplane.http_route_status import HttpRouteStatus
from sailcloth.kube import Client

from ..mesh.test_kubernetes_gateways import HTTP, gateway, mesh_of, route

ROUTE = Key("HTTPRoute", "default", "r")
Object = dict[str, Any]


class Api:
    def __init__(self) -> None:
        self.route: Object = {"metadata": {"name": "r", "namespace": "default", "generation": 1}}
        self.writes = 0

    async def get(self, *_: Any) -> Object:
        return self.route

    async def patch(self, *args: Any, **_: Any) -> Object:
        self.route["status"] = args[3]["status"]
        self.writes += 1
        return self.route

    @property
    def message(self) -> str:
        return str(self.route["status"]["parents"][0]["conditions"][0]["message"])


async def test_a_count_is_written_when_it_stays() -> None:
    mesh, api, counts = mesh_of(gateway(HTTP), route("r")), Api(), {"now": "0/1 proxies"}
    asked: set[Key] = set()

    def counted(keys: Any) -> str:
        asked.update(keys)
        return counts["now"]

    status = HttpRouteStatus(cast("Client", api), mesh.http_routes, mesh.gateways, counted)
    status.enqueue_evaluated()
    await status._reconcile(ROUTE)
    assert (api.message, api.writes) == ("", 1)
    status.recount()
    counts["now"] = "1/1 proxies"  # acknowledged before the second look
    status.recount()
    status.recount()
    await status._reconcile(ROUTE)
    assert (api.message, api.writes) == ("1/1 proxies", 2)
    assert asked == {Key("VirtualService", "default", "edge~http~any")}
    status.recount()
    await status._reconcile(ROUTE)
    assert api.writes == 2
