"""A change that Envoy refuses is taken back, and keeps nobody else's from the proxies."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.testing.world import World, WorldProxy
from sailcloth.xds.types import ROUTES

CLIENT = {"labels": {"app": "client"}, "id": "client-1.default"}


def service(name: str, address: int) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default, uid: s-{name}}}
spec: {{clusterIP: 10.96.0.{address}, ports: [{{name: http, port: 80}}]}}
---
"""


def rule(name: str, value: str, generation: int = 1) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default, uid: v-{name}, generation: {generation}, creationTimestamp: "2026-01-01T00:00:00Z"}}
spec:
  hosts: [{name}]
  http: [{{headers: {{request: {{set: {{x-value: {value}}}}}}}, route: [{{destination: {{host: {name}}}}}]}}]
---
"""


NAMES = ("one", "two", "three")
SERVICES = "".join(service(name, 10 + number) for number, name in enumerate(NAMES))


def key(name: str) -> Key:
    return Key("VirtualService", "default", name)


def refusing(proxy: WorldProxy, value: str = "poison") -> None:
    """The proxy refuses route configurations with this value, as one that it cannot parse."""

    def reject(url: str, names: frozenset[str]) -> str:
        if url != ROUTES:
            return ""
        offered = {r.name: r.body for r in proxy.stream.resources_of(ROUTES)}
        return f"cannot parse {value}" if any(value.encode() in offered[n] for n in names if n in offered) else ""

    proxy.reject = reject


async def test_the_neighbours_of_a_refused_rule_go_on() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        refusing(proxy)
        await world.apply(SERVICES, rule("one", "good"))
        await world.apply(rule("one", "poison", 2))
        accepted = world.condition(key("one"), "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("False", "Refused")
        assert accepted["message"] == "client-1.default refuses it: cannot parse poison"
        assert world.condition(key("one"), "Programmed")["status"] == "False"
        assert b"good" in proxy.resources(ROUTES)["80"]
        await world.apply(rule("two", "neighbour"))
        assert world.condition(key("two"), "Programmed")["message"] == "1/1 proxies"
        assert b"neighbour" in proxy.resources(ROUTES)["80"]
        await world.apply(rule("one", "poison", 2))  # as an informer that lists again
        assert world.condition(key("one"), "Accepted")["reason"] == "Refused"
        await world.apply(rule("one", "mended", 3))
        assert world.condition(key("one"), "Programmed")["status"] == "True"
        assert b"mended" in proxy.resources(ROUTES)["80"]


async def test_of_changes_together_only_the_one_to_blame_is_taken_back() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        refusing(proxy)
        await world.apply(SERVICES)
        await world.apply(rule("one", "poison"), rule("two", "fine-2"), rule("three", "fine-3"))
        await world.settle(2)
        assert world.condition(key("one"), "Accepted")["reason"] == "Refused"
        for name in ("two", "three"):
            assert world.condition(key(name), "Programmed")["message"] == "1/1 proxies"
        assert all(value in proxy.resources(ROUTES)["80"] for value in (b"fine-2", b"fine-3"))


async def test_two_that_are_to_blame_are_both_found() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        refusing(proxy)
        await world.apply(SERVICES)
        await world.apply(rule("one", "poison"), rule("two", "fine"), rule("three", "poison"))
        await world.settle(2)
        assert [world.condition(key(n), "Accepted")["reason"] for n in NAMES] == ["Refused", "Accepted", "Refused"]
        assert b"fine" in proxy.resources(ROUTES)["80"]


async def test_what_another_proxy_has_accepted_stays() -> None:
    async with World() as world:
        await world.connect(CLIENT)
        odd = await world.connect({**CLIENT, "id": "odd-1.default"})
        await world.apply(SERVICES)
        odd.acknowledges = False
        await world.apply(rule("one", "poison"))
        odd.acknowledges = True
        refusing(odd)
        await world.settle(2)
        assert world.condition(key("one"), "Accepted")["status"] == "True"
        programmed = world.condition(key("one"), "Programmed")
        assert programmed["reason"] == "Refused"
        assert programmed["message"] == "1/2 proxies; odd-1.default: cannot parse poison"


async def test_a_refusal_that_no_change_explains_takes_nothing_back() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        await world.apply(SERVICES)
        proxy.reject = lambda url, names: "out of memory" if url == ROUTES else ""
        await world.apply(rule("one", "fine"), rule("two", "fine"))
        await world.settle(2)
        for name in ("one", "two"):
            assert world.condition(key(name), "Accepted")["status"] == "True"
            assert world.condition(key(name), "Programmed")["message"] == "0/1 proxies; client-1.default: out of memory"
        proxy.reject = lambda url, names: ""
        await world.apply(service("four", 20))
        assert world.condition(key("one"), "Programmed")["status"] == "True"
