"""Addresses for ServiceEntries: whom they are given, that nobody shares one, and that they outlive the process."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.api.meta import Key
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.controlplane import addresses
from sailcloth.controlplane.addresses import LINGER_S, V4, V6, Addresses, Pool, Status, current
from sailcloth.mesh import services
from sailcloth.testing.clock import VirtualClock


def entry(
    name: str,
    *hosts: str,
    status: Status | None = None,
    labels: dict[str, str] | None = None,
    created: str = "",
    **spec: Any,
) -> tuple[Key, ServiceEntry]:
    body = {
        "metadata": {"name": name, "namespace": "ns", "labels": labels or {}, "creationTimestamp": created or None},
        "spec": {"hosts": list(hosts or (f"{name}.example.com",)), "resolution": "DNS", **spec},
        "status": {"addresses": status or []},
    }
    return Key("ServiceEntry", "ns", name), msgspec.convert(body, ServiceEntry)


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ({}, 1),
        ({"addresses": ["10.0.0.1"]}, 0),
        ({"resolution": "NONE"}, 0),
        ({"labels": {"networking.istio.io/enable-autoallocate-ip": "false"}}, 0),
        ({"labels": {"networking.istio.io/enable-autoallocate-ip": "true"}}, 1),
    ],
)
def test_who_gets_one(what: dict[str, Any], count: int) -> None:
    _, obj = entry("a", **what)
    assert len(services.allocatable(obj)) == count


def test_wildcards_get_none_and_each_other_host_its_own() -> None:
    key, obj = entry("a", "*.example.com", "b.example.com", "c.example.com")
    found = Pool().status(key, obj, 0)
    assert [a["host"] for a in found] == ["b.example.com"] * 2 + ["c.example.com"] * 2
    assert len({a["value"] for a in found}) == 4
    assert all(ipaddress.ip_address(a["value"]) in (V6 if ":" in a["value"] else V4) for a in found)
    assert not any(a["value"].endswith((".0", ".255")) for a in found)


def test_every_slot_has_addresses_of_its_own() -> None:
    pairs = [addresses.pair(s) for s in range(addresses._SLOTS)]
    assert len({v for p in pairs for v in p}) == 2 * addresses._SLOTS
    assert (
        [addresses.slot_of(v4) for v4, _ in pairs]
        == [addresses.slot_of(v6) for _, v6 in pairs]
        == list(range(addresses._SLOTS))
    )
    assert addresses.slot_of("240.240.1.255") is addresses.slot_of("10.0.0.1") is addresses.slot_of("x") is None


def test_an_address_stays_when_other_things_change_and_is_nobodys_for_a_while_afterwards() -> None:
    pool = Pool()
    key, obj = entry("a")
    given_ = pool.status(key, obj, 0)
    assert pool.status(*entry("a", location="MESH_INTERNAL"), 0) == given_
    pool.forget(key, 0)
    other, thief = entry("b", status=[{"value": given_[0]["value"], "host": "b.example.com"}])
    pool.claim(other, thief, LINGER_S - 1)
    assert pool.status(other, thief, LINGER_S - 1)[0]["value"] != given_[0]["value"]
    assert pool.status(key, obj, LINGER_S - 1) == given_


events = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["put", "remove", "declare", "restart"]),
        st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=3, unique=True),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(events)
def test_no_address_is_given_twice_whatever_happens(history: list[tuple[int, str, list[str]]]) -> None:
    monkey = pytest.MonkeyPatch()
    monkey.setattr(addresses, "_SLOTS", 40)  # so that names collide
    try:
        pool, stored, now = Pool(), {}, 0.0
        for number, what, hosts in history:
            now += 10
            name = f"e{number}"
            key = Key("ServiceEntry", "ns", name)
            if what == "restart":
                pool = Pool()
                for k, obj in sorted(stored.items()):
                    pool.claim(k, obj, now)
            elif what == "remove":
                stored.pop(key, None)
                pool.forget(key, now)
            else:
                old = stored.get(key)
                more = {"addresses": ["10.0.0.1"]} if what == "declare" else {}
                _, obj = entry(name, *hosts, status=current(old) if old else [], **more)
                pool.claim(key, obj, now)
                wanted = pool.status(key, obj, now)
                kept = {a["host"]: a["value"] for a in current(obj) if a["host"] in services.allocatable(obj)}
                assert kept.items() <= {a["host"]: a["value"] for a in wanted}.items()
                _, stored[key] = entry(name, *hosts, status=wanted, **more)
            every = [a["value"] for obj in stored.values() for a in current(obj)]
            assert len(every) == len(set(every))
    finally:
        monkey.undo()


class Server:
    """Takes writes as an API server does, and says no as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.written: dict[Key, Status] = {}
        self.failures = failures
        self.clock = VirtualClock()
        self.addresses = Addresses(self.write, self.clock)

    async def write(self, key: Key, status: Status) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("not now")
        self.written[key] = status


async def test_nothing_is_written_before_all_is_known_and_the_older_one_keeps_a_shared_address() -> None:
    server = Server(failures=2)
    shared = addresses.pair(7)
    for name, created in (("young", "2026-02-01T00:00:00Z"), ("old", "2026-01-01T00:00:00Z")):
        told = [{"value": v, "host": f"{name}.example.com"} for v in shared]
        server.addresses.change(*entry(name, status=told, created=created))
    server.addresses.change(*entry("new"))
    task = asyncio.create_task(server.addresses.run())
    young, new, old = (Key("ServiceEntry", "ns", n) for n in ("young", "new", "old"))
    try:
        await server.clock.advance(5.0)
        assert {young, new} <= server.written.keys()
        assert old not in server.written, "it says already what it is to say"
        assert {a["value"] for a in server.written[young]}.isdisjoint(shared)
        server.addresses.change(*entry("new", status=server.written.pop(new), addresses=["10.1.1.1"]))
        await server.clock.advance(1.0)
        assert server.written[new] == []
    finally:
        task.cancel()
