"""One API server for all tests of this folder; each test has its own namespace."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import Client

from .cluster import KUBECTL, Kubectl, NodeSocket, Pretender, Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("api"))
    try:
        running.start()
        yield running
        assert running.end() == 0, running.log()
        assert "Traceback" not in running.log(), running.log()
    finally:
        running.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with server.client() as made:
        yield made


@pytest.fixture
async def namespace(client: Client) -> str:
    name = f"t{next(_numbers)}"
    await client.create(resources.NAMESPACES, {"metadata": {"name": name}})
    return name


@pytest.fixture
def kubectl(server: Server, namespace: str) -> Kubectl:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    return Kubectl(server, namespace)


@pytest.fixture
async def node(client: Client) -> AsyncIterator[None]:
    """Pods are scheduled and ready at once."""
    task = asyncio.create_task(Pretender(client).run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture(scope="session")
def node_socket(server: Server) -> Iterator[NodeSocket]:
    made = NodeSocket(server.node_socket)
    yield made
    made.close()
