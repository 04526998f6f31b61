"""Workloads that register themselves: who may, what their entries say, and when they go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from sailcloth.api.meta import Key
from sailcloth.api.service_entry import WorkloadEntry
from sailcloth.api.workload_group import WorkloadGroup
from sailcloth.controlplane import registration
from sailcloth.controlplane.registration import LINGER_S, Registration
from sailcloth.mesh.endpoints import HEALTH_CHECKED
from sailcloth.mesh.registry import Mesh
from sailcloth.testing.clock import VirtualClock
from sailcloth.view.metadata import NodeMetadata
from sailcloth.view.proxy import Proxy

GROUP = Key("WorkloadGroup", "vms", "ledger")


def group(**spec: Any) -> WorkloadGroup:
    template = {"ports": {"http": 8080}, "serviceAccount": "ledger", "labels": {"app": "old"}, "weight": 2}
    body = {
        "metadata": {"name": GROUP.name, "namespace": GROUP.namespace, "uid": "u1"},
        "spec": {"template": template, "metadata": {"labels": {"app": "ledger"}, "annotations": {"a": "b"}}, **spec},
    }
    return msgspec.convert(body, WorkloadGroup)


def proxy(ip: str = "10.7.0.1", **metadata: str) -> Proxy:
    found = {"AUTO_REGISTER_GROUP": "ledger", **metadata}
    return Proxy(
        "sidecar", "vm-1", "vms", (ip,), labels=(("version", "v2"),), locality="r/z", metadata=NodeMetadata(found)
    )


def test_an_entry_is_the_template_with_what_the_workload_says_of_itself() -> None:
    made = registration.entry(group(probe={"tcpSocket": {"port": 80}}), proxy(), "name", "me")
    assert made["spec"] == {
        "address": "10.7.0.1",
        "ports": {"http": 8080},
        "labels": {"app": "ledger", "version": "v2"},
        "locality": "r/z",
        "weight": 2,
        "serviceAccount": "ledger",
    }
    notes = made["metadata"]["annotations"]
    assert (notes["a"], notes[registration.GROUP], notes[HEALTH_CHECKED]) == ("b", "ledger", "true")
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert HEALTH_CHECKED not in registration.entry(group(), proxy(), "name", "me")["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("who", "name"),
    [
        (proxy(), "ledger-10.7.0.1"),
        (proxy("fd00::1"), "ledger-fd00--1"),
        (proxy(NETWORK="Outside"), "ledger-10.7.0.1-outside"),
    ],
)
def test_names_are_istios(who: Proxy, name: str) -> None:
    assert registration.entry_key(GROUP, who).name == name


@pytest.mark.parametrize(
    ("known", "account", "who", "why"),
    [
        (group(), "ledger", proxy(), ""),
        (None, "ledger", proxy(), "does not exist"),
        (group(), "default", proxy(), "service account default"),
        (group(), "ledger", proxy("nowhere"), "no address"),
    ],
)
def test_only_the_groups_own_account_may_join(known: WorkloadGroup | None, account: str, who: Proxy, why: str) -> None:
    found = registration.refusal_reason(known, GROUP, who, account)
    assert why in found
    assert bool(found) == bool(why)


class Api:
    """Keeps entries as an API server does."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.writes = 0

    async def apply(self, resource: Any, obj: dict[str, Any], **_: Any) -> None:
        self.writes += 1
        self.entries.setdefault(obj["metadata"]["name"], {}).update(obj)

    async def patch(self, resource: Any, name: str, namespace: str, patch: dict[str, Any], **_: Any) -> None:
        self.writes += 1
        self.entries[name].update(patch)

    async def delete(self, resource: Any, name: str, namespace: str) -> None:
        self.entries.pop(name, None)


class World:
    """A registration over an API that keeps entries, in virtual time."""

    def __init__(self) -> None:
        self.clock, self.api, self.mesh = VirtualClock(), Api(), Mesh()
        self.mesh.apply(GROUP, group())

        async def account(metadata: dict[str, str]) -> str:
            return metadata["account"]

        self.registration = Registration(self.api, self.mesh, "me", account, self.clock)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.registration.run())
        try:
            await self.clock.settle()
            yield
        finally:
            task.cancel()

    def health(self) -> Any:
        entry = self.api.entries.get("ledger-10.7.0.1", {})
        return [(c["status"], c["message"]) for c in entry.get("status", {}).get("conditions", ())]


async def test_an_entry_comes_with_the_stream_and_outlives_a_short_break_only() -> None:
    world = World()
    async with world.running():
        with pytest.raises(PermissionError, match="service account thief"):
            await world.registration.stream_opened(proxy(), {"account": "thief"})
        await world.registration.stream_opened(proxy(), {"account": "ledger"})
        await world.clock.settle()
        assert world.api.entries
        world.registration.health(proxy(), "")
        await world.clock.settle()
        assert world.health() == [("True", "")]
        world.registration.health(proxy(), "connection refused")
        await world.clock.settle()
        assert world.health() == [("False", "connection refused")]
        # The new stream comes before the old one's end is seen.
        await world.registration.stream_opened(proxy(), {"account": "ledger"})
        world.registration.stream_closed(proxy())
        await world.clock.advance(LINGER_S + 1)
        assert world.api.entries
        assert world.api.writes == 3
        world.registration.stream_closed(proxy())
        await world.clock.advance(LINGER_S - 0.1)
        assert world.api.entries
        await world.clock.advance(0.2)
        assert not world.api.entries


async def test_a_workload_that_comes_back_within_the_time_keeps_its_entry_and_later_gets_a_new_one() -> None:
    world = World()
    async with world.running():
        await world.registration.stream_opened(proxy(), {"account": "ledger"})
        world.registration.stream_closed(proxy())
        await world.clock.advance(LINGER_S / 2)
        await world.registration.stream_opened(proxy(), {"account": "ledger"})
        await world.clock.advance(LINGER_S * 3)
        assert world.api.entries
        assert world.api.writes == 1
        world.registration.stream_closed(proxy())
        await world.clock.advance(LINGER_S + 1)
        assert not world.api.entries
        await world.registration.stream_opened(proxy(), {"account": "ledger"})
        await world.clock.settle()
        assert world.api.entries


async def test_entries_that_an_earlier_process_left_go_if_their_workloads_do_not_come_back() -> None:
    world = World()
    for ip in ("10.7.0.1", "10.7.0.2"):
        who = proxy(ip)
        manifest = registration.entry(group(), who, registration.entry_key(GROUP, who).name, "me")
        world.api.entries[manifest["metadata"]["name"]] = manifest
        key = Key("WorkloadEntry", "vms", manifest["metadata"]["name"])
        world.mesh.apply(key, msgspec.convert(manifest, WorkloadEntry))
    await world.registration.stream_opened(proxy(), {"account": "ledger"})
    async with world.running():
        assert world.api.writes
        assert len(world.api.entries) == 2
        await world.clock.advance(LINGER_S + 1)
        assert set(world.api.entries) == {"ledger-10.7.0.1"}
