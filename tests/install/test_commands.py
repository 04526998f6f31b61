"""The commands as users start them, against an API server whose node pretends to run pods."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sailcloth.kube import Client, resources
from tests.apiserver.cluster import Server


@dataclass
class Done:
    code: int
    out: str
    err: str


class Sailctl:
    def __init__(self, server: Server) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}

    async def __call__(self, *words: str, answer: str = "") -> Done:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sailcloth.cli", *words, stdin=-1, stdout=-1, stderr=-1, env=self._environment
        )
        out, err = await asyncio.wait_for(process.communicate(answer.encode()), 60)
        return Done(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
def sailctl(server: Server) -> Sailctl:
    return Sailctl(server)


async def test_the_life_of_an_installation(sailctl: Sailctl, client: Client, running: None, tmp_path: Path) -> None:
    assert "nothing is installed in this cluster by sailctl" in (await sailctl("upgrade", "-y")).err
    assert "nothing is installed in this cluster by sailctl" in (await sailctl("uninstall", "-y")).err

    done = await sailctl("install", answer="n\n")
    assert done.code == 1
    assert "This installs Base (istio-base), Pilot (istiod), IngressGateways (istio-ingressgateway)" in done.out
    assert "cancelled; nothing was changed" in done.err

    file = tmp_path / "operator.yaml"
    file.write_text("kind: IstioOperator\nspec:\n  profile: minimal\n  values: {pilot: {traceSampling: 1}}\n")
    dry = await sailctl("install", "-f", str(file), "--dry-run")
    assert (dry.code, dry.err) == (0, "Warning: values.pilot.traceSampling: has no effect here\n")
    assert "+ Deployment istio-system/istiod" in dry.out.splitlines()
    done = await sailctl("install", "-f", str(file), "-y", "--verify", "--readiness-timeout", "30s")
    assert done.code == 0, done.err
    assert "✔ injection is ready" in done.out
    assert "✔ Pilot: Deployment istio-system/istiod" in done.out
    assert "✔ the installation is complete" in done.out
    assert (await sailctl("install", "-f", str(file), "--dry-run")).out == "nothing would change\n"

    done = await sailctl("upgrade", "--set", "meshConfig.accessLogFile=/dev/stdout", "-y")
    assert done.code == 0, done.err
    mesh = (await client.get(resources.CONFIGMAPS, "istio", "istio-system"))["data"]["mesh"]
    assert 'accessLogFile: "/dev/stdout"' in mesh.splitlines()

    await client.delete(resources.SERVICES, "istiod", "istio-system")
    done = await sailctl("verify-install")
    assert done.code == 1
    assert "✘ Pilot: Service istio-system/istiod: is not there" in done.out

    done = await sailctl("uninstall", "--dry-run")
    assert "- Deployment istio-system/istiod" in done.out.splitlines()
    assert "CustomResourceDefinition" not in done.out
    done = await sailctl("uninstall", "--purge", "-y")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "✔ uninstalled"


async def test_conflicts_are_told(sailctl: Sailctl, client: Client) -> None:
    assert (await sailctl("install", "--set", "profile=minimal", "-y", "--readiness-timeout", "0s")).code == 0
    place = "istio-system"
    other = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": place},
        "data": {"mesh": "a: 1"},
    }
    await client.apply(resources.CONFIGMAPS, other, field_manager="kubectl-edit")
    done = await sailctl("upgrade", "-y", "--readiness-timeout", "0s")
    assert done.code == 1
    assert "--force takes it over" in done.err
    assert 'ConfigMap istio-system/istio: .data.mesh: conflict with "kubectl-edit"' in done.err
    assert (await sailctl("upgrade", "-y", "--force", "--readiness-timeout", "0s")).code == 0


async def test_the_reason_is_told_at_the_time_limit(sailctl: Sailctl) -> None:
    done = await sailctl("install", "-y", "--readiness-timeout", "1s")
    assert done.code == 1
    assert "Error: Deployment istio-system/istiod is not ready after 1 s: pod istiod-" in done.err


async def test_a_local_cluster_is_refused(sailctl: Sailctl, client: Client) -> None:
    made = {"metadata": {"name": "istiod-local", "namespace": "istio-system"}, "addressType": "IPv4", "endpoints": []}
    await client.create(resources.ENDPOINTSLICES, made)
    for words in (("install",), ("uninstall", "--purge")):
        done = await sailctl(*words, "-y")
        assert done.code == 1
    assert "is a local cluster" in (await sailctl("install", "-y")).err
