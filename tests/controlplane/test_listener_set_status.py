"""What is written into the statuses of ListenerSets and their Gateways."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.api.meta import Key
from sailcloth.controlplane.gateway_status import GatewayStatus
from sailcloth.controlplane.listener_set_status import ListenerSetStatus
from sailcloth.kube import ApiError, Resource
from sailcloth.mesh.registry import Mesh

from ..mesh.test_kubernetes_gateways import EDGE, mesh_of, route
from ..mesh.test_listener_sets import IN_OTHER, OTHER, edge, http, listener_set, tls

Object = dict[str, Any]
MORE = Key("ListenerSet", "other", "more")


class Api:
    """Objects by kind and name, and what is patched into their statuses. `ready`: whether the Gateway's pods are."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.writes: list[str] = []
        self.ready = True

    def add(self, kind: str, name: str, generation: int = 1) -> None:
        self.objects[kind, name] = {"metadata": {"name": name, "generation": generation}}

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        if resource.kind == "Service":
            return {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}
        try:
            return self.objects[resource.kind, name]
        except KeyError:
            raise ApiError(404, "NotFound", name) from None

    async def list(self, *_: Any) -> tuple[list[Object], str]:
        return [{"endpoints": [{"conditions": {"ready": self.ready}}]}], ""

    async def patch(self, resource: Resource, name: str, _: str, body: Object, **__: Any) -> None:
        self.writes.append(f"{resource.kind}/{name}")
        self.objects[resource.kind, name].setdefault("status", {}).update(body["status"])

    def reasons(self, kind: str, name: str) -> dict[str, str]:
        return {c["type"]: c["reason"] for c in self.objects[kind, name].get("status", {}).get("conditions", ())}


class Writers:
    """The writers of both statuses, wired as in the process."""

    def __init__(self, mesh: Mesh, api: Api) -> None:
        self._gateways: Any = GatewayStatus(api, mesh.gateways)  # type: ignore[arg-type]
        self._sets: Any = ListenerSetStatus(api, mesh.gateways, self._gateways.programmed.get)  # type: ignore[arg-type]
        self._gateways.on_programmed = self._sets.gateway_changed

    async def write(self) -> None:
        """Write what is queued, also what is to be looked at later."""
        self._gateways.enqueue_evaluated()
        self._sets.enqueue_evaluated()
        for writer in (self._gateways, self._sets):
            keys = [k for k in sorted(writer.queue._due) if k.kind != "GatewayClass"]
            writer.queue._due.clear()
            for key in keys:
                await writer._reconcile(key)


@pytest.fixture
def api() -> Api:
    made = Api()
    made.add("Gateway", "edge")
    made.add("ListenerSet", "more", 7)
    return made


async def test_an_accepted_one(api: Api) -> None:
    mesh = mesh_of(edge(), listener_set(http(port=81)), route("r", parents=IN_OTHER, namespace="other"))
    writers = Writers(mesh, api)
    await writers.write()
    assert api.reasons("ListenerSet", "more") == {"Accepted": "Accepted", "Programmed": "Programmed"}
    status = api.objects["ListenerSet", "more"]["status"]
    assert {c["observedGeneration"] for c in status["conditions"]} == {7}
    (entry,) = status["listeners"]
    assert (entry["name"], entry["attachedRoutes"]) == ("http", 1)
    assert [k["kind"] for k in entry["supportedKinds"]] == ["HTTPRoute", "GRPCRoute"]
    assert {c["type"]: c["status"] for c in entry["conditions"]} == {
        "Accepted": "True", "Conflicted": "False", "Programmed": "True", "ResolvedRefs": "True",
    }  # fmt: skip
    gateway = api.objects["Gateway", "edge"]["status"]
    assert gateway["attachedListenerSets"] == 1
    assert [entry["name"] for entry in gateway["listeners"]] == ["http"], "its own only"
    api.writes.clear()
    mesh.gateways.sets_evaluated.add(MORE)
    await writers.write()
    assert not api.writes, "nothing has changed"


@pytest.mark.parametrize(
    ("gateway", "listener", "expected"),
    [
        (edge(allowed="{}"), http(port=81), ("NotAllowed", "NotAllowed", 0)),
        (edge(), http(), ("ListenersNotValid", "ListenersNotValid", 0)),
        (edge(addresses="[{type: x/y, value: z}]"), http(), ("ParentNotAccepted", "ParentNotProgrammed", 0)),
    ],
    ids=["not allowed", "in conflict", "its Gateway is not accepted"],
)
async def test_one_that_is_not_accepted(api: Api, gateway: str, listener: str, expected: tuple[str, str, int]) -> None:
    await Writers(mesh_of(gateway, listener_set(listener)), api).write()
    reasons = api.reasons("ListenerSet", "more")
    attached = api.objects["Gateway", "edge"]["status"]["attachedListenerSets"]
    assert (reasons["Accepted"], reasons["Programmed"], attached) == expected


async def test_it_follows_its_gateway(api: Api) -> None:
    mesh = mesh_of(OTHER, edge(), listener_set(http(port=81)))
    writers = Writers(mesh, api)
    api.ready = False
    await writers.write()
    assert api.reasons("ListenerSet", "more") == {"Accepted": "Accepted", "Programmed": "ParentNotProgrammed"}
    api.ready = True
    mesh.gateways.gateways_evaluated.add(EDGE)
    await writers.write()
    assert api.reasons("ListenerSet", "more")["Programmed"] == "Programmed"
    mesh.apply(EDGE, None)
    del api.objects["Gateway", "edge"]
    await writers.write()
    assert api.reasons("ListenerSet", "more") == {"Accepted": "ParentNotAccepted", "Programmed": "ParentNotProgrammed"}


async def test_a_gateway_says_that_clients_without_a_certificate_are_let_in_at_a_port_of_a_set(api: Api) -> None:
    references = "[{group: '', kind: ConfigMap, name: roots}]"
    validation = f"{{mode: AllowInsecureFallback, caCertificateRefs: {references}}}"
    lenient = edge(tls=f"{{frontend: {{default: {{validation: {validation}}}}}}}")
    await Writers(mesh_of(lenient), api).write()
    assert "InsecureFrontendValidationMode" not in api.reasons("Gateway", "edge")
    await Writers(mesh_of(lenient, listener_set(tls("a.com", "c"))), api).write()
    assert "InsecureFrontendValidationMode" in api.reasons("Gateway", "edge")


async def test_one_of_another_controllers_gateway_is_left_alone(api: Api) -> None:
    mesh = mesh_of(edge().replace("gatewayClassName: istio", "gatewayClassName: theirs"), listener_set(http(port=81)))
    await Writers(mesh, api).write()
    assert not api.writes
