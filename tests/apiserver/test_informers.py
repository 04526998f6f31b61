"""client-go's informers of every kind stay in step with the API server: through changes, deletions, and deaths of the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Object, Pretender, Server, until

HERE = Path(__file__).parent / "informers"
GO = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
BUILD_S = 400  # without a build cache
Held = dict[str, dict[str, str]]
pytestmark = pytest.mark.timeout(BUILD_S + 120)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program; Go's own cache makes it quick the second time."""
    if GO is None:
        pytest.skip("Go is not installed")
    out = tmp_path_factory.mktemp("go") / "informers"
    try:
        done = subprocess.run(
            [GO, "build", "-o", str(out), "."], cwd=HERE, capture_output=True, text=True, timeout=BUILD_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"client-go was not compiled in {BUILD_S} s")
    if re.search(
        r"dial tcp|i/o timeout|no such host|proxyconnect|\b(403|404|410|5\d\d) |toolchain not available", done.stderr
    ):
        pytest.skip(f"Go modules cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return out


class Informers:
    """The running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def held(self) -> Held:
        """What its caches hold."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(20):
            return dict(json.loads(await self._process.stdout.readline()))


@asynccontextmanager
async def informers(program: Path, server: Server, *options: str) -> AsyncIterator[Informers]:
    process = await asyncio.create_subprocess_exec(
        str(program), "-kubeconfig", str(server.kubeconfig), *options, stdin=-1, stdout=-1, stderr=-1, limit=1 << 24
    )
    try:
        assert process.stdout
        assert process.stderr
        async with asyncio.timeout(40):
            line = await process.stdout.readline()
        assert line.strip().isdigit(), (await process.stderr.read()).decode()[-2000:]
        yield Informers(process)
    finally:
        process.kill()
        await process.communicate()


async def listed(client: Client, names: list[str]) -> Held:
    """What the server has of these resources."""
    out: Held = {}
    for name in names:
        *group, version, plural = name.split("/")
        path = Resource("".join(group), version, plural, "", namespaced=False).path()
        items = json.loads(await client.call("GET", path))["items"]
        keys = ((i["metadata"].get("namespace", ""), i["metadata"]) for i in items)
        out[name] = {f"{namespace}/{m['name']}": m["resourceVersion"] for namespace, m in keys}
    return out


async def in_step(client: Client, running: Informers) -> Held:
    """Wait until the caches hold what the server has; what that is."""
    difference: Any = None

    async def same() -> Held | None:
        nonlocal difference
        held = await running.held()
        truth = await listed(client, list(held))
        difference = {
            name: sorted(set(truth[name].items()) ^ set(objects.items()))[:4]
            for name, objects in held.items()
            if truth[name] != objects
        }
        return held if not difference else None

    try:
        return dict(await until("informers are in step", same, 30))
    except AssertionError:
        raise AssertionError(f"not in step: {difference}") from None


@pytest.fixture
def gateway_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, gateway_api=True)
    try:
        server.start()
        yield server
    finally:
        server.close()


POD = {"containers": [{"name": "main", "image": "i"}]}
SELECTOR = {"matchLabels": {"app": "a"}}
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": POD}
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
POLICY = {
    "matchConstraints": {
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nodes"]}]
    },
    "validations": [{"expression": "true"}],
}
OBJECTS: list[tuple[str, str, bool, Object]] = [
    ("v1", "configmaps", True, {"data": {"a": "b"}}),
    ("v1", "secrets", True, {"stringData": {"a": "b"}}),
    ("v1", "services", True, {"spec": {"ports": [{"port": 80}]}}),
    ("v1", "serviceaccounts", True, {}),
    ("v1", "pods", True, {"spec": POD}),
    ("v1", "persistentvolumeclaims", True, {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ("v1", "limitranges", True, {"spec": {"limits": []}}),
    ("v1", "resourcequotas", True, {"spec": {"hard": {"pods": "100"}}}),
    ("v1", "endpoints", True, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}]}),
    ("apps/v1", "deployments", True, {"spec": {"replicas": 2, "selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "statefulsets", True, {"spec": {"serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": {"metadata": {"labels": {"app": "s"}}, "spec": POD}}}),
    ("apps/v1", "daemonsets", True, {"spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}}, "spec": POD}}}),
    ("batch/v1", "jobs", True, {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}),
    ("batch/v1", "cronjobs", True, {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}}),
    ("autoscaling/v2", "horizontalpodautoscalers", True, {"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}}),
    ("discovery.k8s.io/v1", "endpointslices", True, {"addressType": "IPv4", "endpoints": None, "ports": None}),
    ("coordination.k8s.io/v1", "leases", True, {"spec": {"holderIdentity": "x", "renewTime": "2026-01-01T00:00:00.123456Z"}}),
    ("networking.k8s.io/v1", "ingresses", True, {"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}}),
    ("networking.k8s.io/v1", "networkpolicies", True, {"spec": {"podSelector": {}}}),
    ("policy/v1", "poddisruptionbudgets", True, {"spec": {"minAvailable": "50%", "selector": SELECTOR}}),
    ("rbac.authorization.k8s.io/v1", "rolebindings", True, {"roleRef": ROLE, "subjects": []}),
    ("scheduling.k8s.io/v1", "priorityclasses", False, {"value": 3}),
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", False, {"spec": POLICY}),
    ("gateway.networking.k8s.io/v1", "gatewayclasses", False, {"spec": {"controllerName": "example.com/x"}}),
    ("gateway.networking.k8s.io/v1", "httproutes", True, {"spec": {}}),
]  # fmt: skip


def resource_of(version: str, plural: str, namespaced: bool) -> Resource:
    group, _, number = version.rpartition("/")
    return Resource(group, number, plural, "", namespaced)


async def create(client: Client, name: str) -> None:
    for version, plural, namespaced, body in OBJECTS:
        metadata = {"name": name, **({"namespace": "default"} if namespaced else {})}
        await client.create(resource_of(version, plural, namespaced), {"metadata": metadata, **body})


async def change(client: Client, name: str, number: int) -> None:
    patch = {"metadata": {"labels": {"number": str(number)}}}
    for version, plural, namespaced, _ in OBJECTS:
        await client.patch(resource_of(version, plural, namespaced), name, "default" if namespaced else "", patch)


async def delete(client: Client, name: str) -> None:
    for version, plural, namespaced, _ in OBJECTS:
        with contextlib.suppress(ApiError):
            where = "default" if namespaced else ""
            await client.delete(
                resource_of(version, plural, namespaced), name, where, grace=0
            )  # the node is dead by then


@pytest.mark.parametrize("options", [(), ("-protobuf",)], ids=["dynamic", "protobuf"])
async def test_informers_stay_in_step(program: Path, gateway_server: Server, options: tuple[str, ...]) -> None:
    server = gateway_server
    async with server.client() as client:
        node = asyncio.create_task(Pretender(client).run())
        await create(client, "before")
        async with informers(program, server, *options) as running:
            held = await in_step(client, running)
            seen = {f"{v}/{p}" for v, p, _, _ in OBJECTS if not options or not v.startswith("gateway.")}
            assert seen <= set(held)
            assert all(any(k.endswith("/before") for k in held[name]) for name in seen)
            await create(client, "meanwhile")
            await change(client, "before", 1)
            await in_step(client, running)
            await delete(client, "before")
            held = await in_step(client, running)
            assert not [k for name in seen for k in held[name] if k.endswith("/before")]
            for number in range(3):  # it dies between the change and the watch event, or after
                await change(client, "meanwhile", 10 + number)
                server.end(signal.SIGKILL)
                server.start()
                await until("the server answers", lambda: answers(client), 20)
                await create(client, f"after{number}")
                await in_step(client, running)
            await delete(client, "meanwhile")
            held = await in_step(client, running)
            assert not [k for name in seen for k in held[name] if k.endswith("/meanwhile")]
        node.cancel()
        await asyncio.gather(node, return_exceptions=True)
    assert "Traceback" not in server.log(), server.log()


async def answers(client: Client) -> bool:
    try:
        await client.get(resources.NAMESPACES, "default")
    except (ApiError, OSError):
        return False
    return True
