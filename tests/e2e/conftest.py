"""One local cluster with Bookinfo for all tests of this folder; every test leaves the mesh without routing rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bookinfo import KUBECTL, Cluster, new_state

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    with new_state() as state:
        running = Cluster(state)
        running.start()
        yield running


@pytest.fixture
def mesh(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with only Bookinfo's gateway and the destination rules of all subsets at the end as at the begin."""
    yield cluster
    cluster.reset()


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory of the test's own."""
    with new_state() as directory:
        yield directory
