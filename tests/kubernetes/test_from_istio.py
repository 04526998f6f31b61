"""Taking over from Istio: its own control plane runs in a cluster, ours beside it, and namespaces move without a failed request.

Istio's sidecars are our image here, which its control plane configures; extensions of Istio's build of Envoy are switched off, since a stock Envoy
has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from sailcloth import __version__

from . import binaries, conftest, node
from .node import Node
from .requests import Requests
from .test_mesh import fetch
from .test_revisions import change, control_planes_of, move, revision

PILOT = "docker.io/sailcloth/istio-pilot:test"
SYSTEM, SHOP = ("-n", "istio-system"), "shop"
_OF_ISTIO = {
    "profile": "minimal",
    "hub": "docker.io/sailcloth",
    "tag": __version__,
    "values.global.proxy.image": "proxyv2",
    "values.global.imagePullPolicy": "IfNotPresent",
    "values.pilot.image": PILOT,
    "values.pilot.autoscaleEnabled": "false",
    "values.pilot.resources.requests.memory": "200Mi",
    "values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "values.pilot.env.PILOT_ENABLE_ALPN_FILTER": "false",
    "values.pilot.env.PILOT_DISABLE_MX_ALPN": "true",
    "values.telemetry.enabled": "false",
    "meshConfig.accessLogFile": "/dev/stdout",
}
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def istio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster with Istio as istioctl installs it, and two workloads with sidecars of its."""
    conftest.require_node()
    if missing := binaries.missing(binaries.ISTIO):
        pytest.skip(f"not built: {', '.join(missing)}; `python -m tests.kubernetes.binaries --istio` builds them")
    with node.node() as running:
        plane = running.control_plane
        conftest.import_images(running, tmp_path_factory.mktemp("images"))
        running.import_program(PILOT, binaries.path("pilot-discovery"), "pilot-discovery", "1337:1337")
        for name in ("istio-system", SHOP):
            plane.kubectl("create", "namespace", name)
        plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(of_istio(running)))
        plane.kubectl("rollout", "status", *SYSTEM, "deployment/istiod", "--timeout=90s")
        running.processes.wait("injection by Istio", lambda: "caBundle" in hooks(running))
        plane.kubectl("label", "namespace", SHOP, "istio-injection=enabled")
        plane.kubectl("apply", "-n", SHOP, "-f", conftest.HERE / "manifests" / "web.yaml")
        # Istio's control plane tells a client after 100 ms that a server ends, which stops to listen at once.
        pause = {"containers": [{"name": "web", "lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}]}
        patch = json.dumps({"spec": {"template": {"spec": pause}}})
        plane.kubectl("patch", "-n", SHOP, "deployment/server", "-p", patch)
        for deployment in ("server", "client"):
            plane.kubectl("rollout", "status", "-n", SHOP, f"deployment/{deployment}", "--timeout=60s")
        yield running


def of_istio(running: Node) -> list[dict[str, object]]:
    """The objects of an installation of Istio."""
    options = [word for k, v in _OF_ISTIO.items() for word in ("--set", f"{k}={v}")]
    made = running.control_plane.run(binaries.path("istioctl"), "manifest", "generate", *options).stdout
    return [each for each in yaml.safe_load_all(made) if each]


def hooks(running: Node) -> str:
    """What Istio's webhook configuration says."""
    return running.control_plane.kubectl("get", "mutatingwebhookconfiguration/istio-sidecar-injector", "-o", "yaml")


def test_namespaces_move_from_istio_and_no_request_fails(istio: Node) -> None:
    plane, wait = istio.control_plane, istio.processes.wait
    said = conftest.sailctl(plane, "x", "precheck", check=False)
    assert "Error [MESH] (istio-sidecar-injector) Another mesh injects as revision default" in said
    assert "Info [MESH]" in conftest.sailctl(plane, "x", "precheck", "--revision", "sailcloth")
    options = yaml.safe_load(plane.kubectl("get", *SYSTEM, "configmap/istio", "-o", "jsonpath={.data.mesh}"))
    file = istio.folder / "mesh.yaml"
    file.write_text(yaml.safe_dump({"meshConfig": options}))
    kinds = plane.kubectl(
        "get", "crd/virtualservices.networking.istio.io", "-o", "jsonpath={.metadata.resourceVersion}"
    )

    with Requests(lambda: fetch(istio, SHOP, "http://server/")) as requests:
        arguments = ("-y", "--verify", "--revision", "sailcloth", "-f", str(file))
        choices = ("--set", "profile=minimal", "--set", "values.global.imagePullPolicy=IfNotPresent")
        conftest.sailctl(plane, "install", *arguments, *choices)
        assert control_planes_of(istio, "server-") == control_planes_of(istio, "client-") == {"istiod"}

        # The client keeps Istio's sidecar; between the two is mutual TLS, which the policy demands.
        move(istio, SHOP, "istio-injection-", "istio.io/rev=sailcloth")
        assert revision(istio, SHOP, "server") == "sailcloth"
        wait("server at our control plane", lambda: control_planes_of(istio, "server-") == {"istiod-sailcloth"})
        assert control_planes_of(istio, "client-") == {"istiod"}

        # And back.
        move(istio, SHOP, "istio.io/rev-", "istio-injection=enabled")
        assert revision(istio, SHOP, "server") == "default"

        # All that names no revision.
        conftest.sailctl(plane, "tag", "set", "default", "--revision", "sailcloth")
        assert "never-match" in hooks(istio)
        move(istio, SHOP)
        assert revision(istio, SHOP, "server") == "sailcloth"
    assert requests.failed == []
    assert requests.answers > 10
    plane.kubectl("rollout", "restart", "-n", SHOP, "deployment/client")
    plane.kubectl("rollout", "status", "-n", SHOP, "deployment/client", "--timeout=60s")
    wait("client at our control plane", lambda: control_planes_of(istio, "client-") == {"istiod-sailcloth"})

    with Requests(lambda: fetch(istio, SHOP, "http://server/")) as requests:
        going = [o for o in of_istio(istio) if o["kind"] != "CustomResourceDefinition"]
        plane.kubectl("delete", "-f", "-", input=yaml.safe_dump_all(going))
        change(istio, SHOP, 419, "2/2 proxies")
        roots = ("configmap/istio-ca-root-cert", "-o", "jsonpath={.data.root-cert\\.pem}")
        before = plane.kubectl("get", "-n", SHOP, *roots)
        plane.kubectl("delete", "-n", SHOP, roots[0])
        wait("roots by our control plane", lambda: plane.kubectl("get", "-n", SHOP, *roots, check=False) == before)
    assert requests.failed == []
    after = plane.kubectl(
        "get", "crd/virtualservices.networking.istio.io", "-o", "jsonpath={.metadata.resourceVersion}"
    )
    assert after == kinds, "the kinds are Istio's, and stay as they are"
