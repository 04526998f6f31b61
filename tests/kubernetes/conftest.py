"""One control plane, and one cluster with a node, for all tests of this folder. `make test-kubernetes` runs them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from images import build
from images.errors import BuildError
from sailcloth.api import crd
from sailcloth.local.controllers import gateway_api

from . import binaries, cluster, node
from .cluster import ControlPlane
from .node import Node

HERE = Path(__file__).parent
ASKED = "SAILCLOTH_KUBERNETES"
_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_CONTROL_PLANE = {"kubectl": "kubernetes-client", "etcd": "etcd-server", "setpriv": "util-linux"}
_NODE = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cluster")
            item.add_marker(pytest.mark.timeout(600))


def _require(programs: dict[str, str]) -> None:
    """Skip, with the reason, where something is missing or these tests are not asked for."""
    if not os.environ.get(ASKED):
        pytest.skip(f"`make test-kubernetes` runs it, or {ASKED}=1 once the programs are built")
    if binaries.missing():
        pytest.skip(f"not built: {', '.join(binaries.missing())}; `make test-kubernetes` builds them, with Go")
    packages = sorted({package for program, package in programs.items() if not shutil.which(program, path=_SEARCH)})
    if packages:
        pytest.skip(f"not installed, as Debian's packages are called: {', '.join(packages)}")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd, the API server, controllers and scheduler on loopback."""
    _require(_CONTROL_PLANE)
    with cluster.control_plane() as running:
        yield running


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Node]:
    """A control plane, and a node that runs pods."""
    require_node()
    with node.node() as running:
        yield running


def require_node() -> None:
    """Skip, with the reason, where a cluster with a node cannot be."""
    _require(_CONTROL_PLANE | _NODE)
    if os.geteuid() != 0:
        pytest.skip("a node needs root")
    if binaries.go() is None:
        pytest.skip("there is no Go to build the images of test pods with")


DEFINITIONS = {each["metadata"]["name"]: each for each in [*crd.crds(), *gateway_api.definitions()]}
"""The CRDs of an installation, by name: our own, and the standard channel of the Gateway API."""


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> dict[str, str]:
    """Applies all CRDs; what kubectl says to each, by name."""
    command = ("apply", "--server-side", "-f", "-")
    return {
        name: control_plane.kubectl(*command, input=yaml.safe_dump(definition), check=False)
        for name, definition in DEFINITIONS.items()
    }


@pytest.fixture(scope="session")
def served(control_plane: ControlPlane, installed: dict[str, str]) -> ControlPlane:
    """The control plane, once it serves all CRDs."""
    control_plane.kubectl(
        "wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in installed)
    )
    return control_plane


@pytest.fixture(scope="session")
def mesh(kubernetes: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The cluster with the mesh, as `sailctl install` leaves it; its images are on the node. At the end it is uninstalled, and leaves nothing."""
    plane = kubernetes.control_plane
    import_images(kubernetes, tmp_path_factory.mktemp("images"))
    before = _whole(plane)
    plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(gateway_api.definitions()))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    install(plane)
    yield kubernetes
    plane.kubectl("delete", "-f", "-", input=yaml.safe_dump_all(gateway_api.definitions()))
    sailctl(plane, "uninstall", "--purge", "-y")
    kubernetes.processes.wait("end of all that was installed", lambda: _whole(plane) <= before)


def import_images(running: Node, folder: Path) -> None:
    """Build the product's images, and put them on the node; skip where they cannot be built."""
    for name in build.RECIPES:
        archive = folder / f"{name}.tar"
        try:
            build.build(name, archive, fresh=False)
        except BuildError as error:
            pytest.skip(str(error))
        running.import_image(archive)
        archive.unlink()


def install(plane: ControlPlane, *more: str) -> None:
    """Install the mesh, or another revision of it."""
    options = [word for each in _OPTIONS for word in ("--set", each)]
    sailctl(plane, "install", "-y", "--verify", "--readiness-timeout=2m", *options, *more)


_OPTIONS = (
    "meshConfig.accessLogFile=/dev/stdout",
    "values.global.imagePullPolicy=IfNotPresent",
    "values.pilot.settings.drain_s=3",
    "meshConfig.defaultConfig.tracing.sampling=100",
    "components.telemetry.enabled=true",
    "components.console.enabled=true",
    "values.telemetry.settings.interval_s=2",
    "values.global.networkPolicy.enabled=true",
)
WHOLE = (
    "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,"
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,priorityclasses,ingressclasses"
)
"""The kinds of objects that an installation has outside its namespace."""


def _whole(plane: ControlPlane) -> set[str]:
    return set(plane.kubectl("get", WHOLE, "-o", "name").split())


def sailctl(plane: ControlPlane, *arguments: str, check: bool = True) -> str:
    """What a command says."""
    command = (sys.executable, "-m", "sailcloth.cli", *arguments)
    return plane.run(*command, check=check, timeout_s=180).stdout


@pytest.fixture(scope="session")
def namespace(mesh: Node) -> Iterator[str]:
    """A namespace of the mesh with a server, a client, and rules for them; a test leaves it as it found it."""
    plane = mesh.control_plane
    with plane.namespace() as name:
        plane.kubectl("label", "namespace", name, "istio-injection=enabled")
        plane.kubectl("apply", "-n", name, "-f", HERE / "manifests" / "web.yaml")
        for deployment in ("server", "client"):
            plane.kubectl("rollout", "status", "-n", name, f"deployment/{deployment}", "--timeout=60s")
        yield name
