"""Which of several replicas writes, against a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sailcloth.controlplane import leadership
from sailcloth.controlplane.leadership import Leadership
from sailcloth.kube import Client
from sailcloth.kube.resources import LEASES

from ..apiserver.cluster import Server

NAMESPACE, NAME = "default", "sailcloth-leader"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("leadership"))
    one.start()
    yield one
    one.close()


@pytest.fixture
async def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    for name, seconds in (("DURATION_S", 1.0), ("_RENEW_S", 0.2), ("_DEADLINE_S", 0.7)):
        monkeypatch.setattr(leadership, name, seconds)
    async with asyncio.timeout(30), server.client() as one:
        yield one
        for lease in (await one.list(LEASES, NAMESPACE))[0]:
            await one.delete(LEASES, lease["metadata"]["name"], NAMESPACE)


class Replica:
    """Notes when it leads."""

    def __init__(self, client: Client, name: str) -> None:
        self.leads = asyncio.Event()
        self.stopped = asyncio.Event()
        self.task = asyncio.create_task(Leadership(client, NAMESPACE, NAME, name, look_s=0.05).run(self._lead))

    async def _lead(self) -> None:
        self.stopped.clear()
        self.leads.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.leads.clear()
            self.stopped.set()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def holder(client: Client) -> str:
    return str((await client.get(LEASES, NAME, NAMESPACE))["spec"]["holderIdentity"])


async def test_one_leads_and_another_follows_when_it_ends(client: Client) -> None:
    one = Replica(client, "one")
    await one.leads.wait()
    two = Replica(client, "two")
    await asyncio.sleep(1.5)  # longer than a Lease that is not renewed lasts
    assert one.leads.is_set()
    assert not two.leads.is_set()
    await one.end()
    assert one.stopped.is_set()
    await two.leads.wait()
    assert await holder(client) == "two"
    assert (await client.get(LEASES, NAME, NAMESPACE))["spec"]["leaseTransitions"] == 1
    await two.end()
    assert await holder(client) == ""


async def test_one_that_died_is_replaced_once_its_lease_has_ended(client: Client) -> None:
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2020-01-01T00:00:00.000000Z"}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME, "namespace": NAMESPACE}}
    await client.create(LEASES, {**body, "spec": spec})
    began, one = asyncio.get_running_loop().time(), Replica(client, "one")
    await one.leads.wait()
    assert asyncio.get_running_loop().time() - began >= 1.0, "by its own clock, not by what the Lease says"
    await one.end()


async def test_one_that_has_lost_the_lease_stops_writing(client: Client) -> None:
    one = Replica(client, "one")
    await one.leads.wait()
    lease = await client.get(LEASES, NAME, NAMESPACE)
    await client.replace(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": "other"}})
    await one.stopped.wait()
    await one.leads.wait()  # "other" does not renew
    assert await holder(client) == "one"
    await one.end()


async def test_an_error_of_what_it_leads_ends_it_and_frees_the_lease(client: Client) -> None:
    async def fail() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        await Leadership(client, NAMESPACE, NAME, "one", look_s=0.05).run(fail)
    assert await holder(client) == ""
