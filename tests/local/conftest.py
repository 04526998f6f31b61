"""One `sailctl up` for the tests of this folder that need a running cluster; faults must leave it healed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import Client

from ..state_directories import state_directory
from .local_cluster import Up

HERE = Path(__file__).parent
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and {"up", "own"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    cluster = Up(state_directory())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(cluster.state, ignore_errors=True)


@pytest.fixture
def own() -> Iterator[Up]:
    """A cluster of the test's own, not started yet."""
    cluster = Up(state_directory())
    yield cluster
    cluster.down()
    shutil.rmtree(cluster.state, ignore_errors=True)


@pytest.fixture
async def client(up: Up) -> AsyncIterator[Client]:
    async with up.client() as made:
        yield made


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    name = f"l{next(_numbers)}"
    await client.create(resources.NAMESPACES, {"metadata": {"name": name}})
    yield name
    await client.delete(resources.NAMESPACES, name)
