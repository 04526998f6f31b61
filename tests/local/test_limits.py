"""Limits of containers where this user may have control groups: held by the kernel, told in the status, gone with the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sailcloth.kube.client import Client
from sailcloth.kube.resources import PODS
from sailcloth.local import cgroups

from .local_cluster import in_time
from .pods import container, gone, make, pod, ready, run_command

NAME = f"sailcloth-test-{os.getpid()}"
GREEDY = "exec python3 -c 'x = bytearray(400 << 20); print(len(x))'"
LOADED = 'import time; d=time.monotonic()+0.5; exec("while time.monotonic() < d: pass"); print(time.process_time())'


@pytest.fixture(scope="module")
def groups() -> Iterator[dict[str, str]]:
    """A group of our own; whether there can be one is what the tests depend on."""
    made = cgroups.prepare(NAME)
    if set(made) != {"memory", "cpu"}:
        pytest.skip("this machine delegates no control groups for memory and CPU to this user")
    yield made
    cgroups.remove(made)
    assert not any(Path(folder).exists() for folder in made.values())


def _enter(fds: list[int], program: str) -> tuple[int, str]:
    """Exit status and output of a Python program in a group."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for fd in fds:
                os.write(fd, b"0")
            os.dup2(write, 1)
            os.execvp("python3", ["python3", "-c", program])
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def test_processes_are_held_to_their_groups_limits(groups: dict[str, str]) -> None:
    made = cgroups.Groups(groups)
    fds = made.make("pod-1", "main.0", 64 << 20, 0)
    assert not made.oom_killed("pod-1", "main.0")
    assert _enter(fds, "x = bytearray(16 << 20); print(len(x))") == (0, f"{16 << 20}\n")
    assert _enter(fds, "x = bytearray(400 << 20); print(len(x))") == (-9, "")
    assert made.oom_killed("pod-1", "main.0")
    for fd in fds:
        os.close(fd)
    fds = made.make("pod-1", "main.1", 0, 0.1)
    code, used = _enter(fds, LOADED)
    for fd in fds:
        os.close(fd)
    assert code == 0
    assert float(used) < 0.4, "half a second of a tenth of a processor"
    made.remove("pod-1")
    assert not any((Path(folder) / "pod-1").exists() for folder in groups.values())


def test_no_group_is_made_for_no_limit(groups: dict[str, str]) -> None:
    assert cgroups.Groups(groups).make("pod-2", "main.0", 0, 0) == []
    assert not any((Path(folder) / "pod-2").exists() for folder in groups.values())
    assert cgroups.Groups({}).make("pod-2", "main.0", 1 << 20, 1) == []


def test_what_an_earlier_cluster_left_is_cleared(groups: dict[str, str]) -> None:
    name = f"{NAME}-again"
    first = cgroups.prepare(name)
    (Path(first["memory"]) / "pod" / "main.0").mkdir(parents=True)
    assert cgroups.prepare(name) == first
    assert not (Path(first["memory"]) / "pod").exists()
    cgroups.remove(first)


async def test_a_container_over_its_memory_is_killed_and_says_so(
    groups: dict[str, str], client: Client, namespace: str
) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi", "cpu": "1"}}}
    await make(client, namespace, pod("greedy", GREEDY, container=limits, restartPolicy="Never"))

    async def ended() -> bool:
        return "terminated" in ((await container(client, namespace, "greedy")).get("state") or {})

    await in_time("the container has ended", ended)
    state = (await container(client, namespace, "greedy"))["state"]["terminated"]
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)


async def test_a_command_in_a_container_shares_its_limits(
    groups: dict[str, str], client: Client, namespace: str
) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    await make(client, namespace, pod("tight", "sleep 600", container=limits))
    await ready(client, namespace, "tight")
    code, out = await run_command(client, namespace, "tight", "/bin/sh", "-c", GREEDY)
    assert code == 137, out
    obj = await client.get(PODS, "tight", namespace)
    assert obj["status"]["containerStatuses"][0]["restartCount"] == 0
    await client.delete(PODS, "tight", namespace, grace=0)
    await gone(client, namespace, "tight")
