"""One `sailctl up` for the tests of this folder that need a running cluster; faults must leave it healed."""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from upcluster import Up

from sailcloth.kube import resources
from sailcloth.kube.client import Client

_numbers = itertools.count(1)


def _state() -> Path:
    return Path(tempfile.mkdtemp(prefix="sc-"))  # short, because UNIX sockets' paths are


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    cluster = Up(_state())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(cluster.state, ignore_errors=True)


@pytest.fixture
def own() -> Iterator[Up]:
    """A cluster of the test's own, not started yet."""
    cluster = Up(_state())
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
