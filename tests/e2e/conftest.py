"""One local cluster with Bookinfo for all tests of this folder; every test leaves the mesh without routing rules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bookinfo import KUBECTL, Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    running = Cluster(tmp_path_factory.mktemp("bookinfo"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def mesh(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with only Bookinfo's gateway and the destination rules of all subsets at the end as at the begin."""
    yield cluster
    cluster.reset()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory of the test's own; what still runs in it is stopped."""
    yield tmp_path / "state"
    subprocess.run([*Cluster.SAILCTL, "down", "--state", str(tmp_path / "state")], capture_output=True, check=False)
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    os.environ.pop("KUBECONFIG", None)
