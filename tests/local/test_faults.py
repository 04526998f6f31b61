"""Faults: each heals by itself or says what is wrong and what to do; what was accepted before is still there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import CONFIGMAPS, NAMESPACES, PODS, Resource
from sailcloth.lib import namespaces as ns

from .local_cluster import SAILCTL, Up, descendants, eventually, in_time, processes, sailctl
from .network_namespaces import inside
from .pods import log, make, pod, ready

GATEWAYS = Resource("networking.istio.io", "v1", "gateways", "Gateway")


def _running(marker: str) -> int:
    """PID, as the host sees it, of the `sleep MARKER` of a test's pod."""
    return eventually(f"sleep {marker} runs", lambda: min(processes(f"sleep {marker}"), default=0))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# -- one part dies, the cluster heals ------------------------------------------------------------


async def test_pods_do_not_notice_that_the_node_died(up: Up, client: Client, namespace: str) -> None:
    marker = f"7{os.getpid()}01"
    await make(client, namespace, pod("stays", f"exec sleep {marker}"))
    await ready(client, namespace, "stays")
    before, node = _running(marker), up.component("node")
    os.kill(node, signal.SIGKILL)
    assert eventually("another node process", lambda: up.component("node") != node)
    await make(client, namespace, pod("next", "exec sleep 1000"))
    await ready(client, namespace, "next")
    assert _running(marker) == before
    found = await ready(client, namespace, "stays")
    assert found["containerStatuses"][0]["restartCount"] == 0
    await client.delete(PODS, "stays", namespace, grace=0)
    eventually("the adopted pod can be deleted", lambda: not processes(f"sleep {marker}"))


async def test_the_next_node_process_adopts_what_it_finds(up: Up, client: Client, namespace: str) -> None:
    """Nothing is written of a pod that did not change, also if its probe takes long to pass again."""
    probe = {"exec": {"command": ["sh", "-c", "test -e /tmp/passed || { touch /tmp/passed; exit 0; }; exit 1"]}}
    slow = {**probe, "periodSeconds": 30, "failureThreshold": 3}
    await make(client, namespace, pod("adopted", "exec sleep 1000", container={"readinessProbe": slow}))
    await ready(client, namespace, "adopted")
    before = await client.get(PODS, "adopted", namespace)
    for number in range(2):
        old = up.component("node")
        os.kill(old, signal.SIGKILL)
        await make(client, namespace, pod(f"next{number}", "exec sleep 1000"))
        await ready(client, namespace, f"next{number}")
    after = await client.get(PODS, "adopted", namespace)
    assert after["status"] == before["status"]
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_pod_that_is_deleted_while_no_node_process_runs_ends_gracefully(
    up: Up, client: Client, namespace: str, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    volumes = {"volumes": [{"name": "out", "hostPath": {"path": str(tmp_path)}}]}
    mounts = {"volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    script = "trap 'echo bye > /out/said; exit 0' TERM; echo > /out/began; while :; do sleep 0.1; done"
    await make(
        client, namespace, pod("polite", script, container=mounts, **{**volumes, "terminationGracePeriodSeconds": 10})
    )
    await ready(client, namespace, "polite")
    eventually("it runs", (tmp_path / "began").exists)
    old = up.component("node")
    os.kill(old, signal.SIGKILL)
    await client.delete(PODS, "polite", namespace)
    eventually("it was asked to end", said.exists)


async def test_a_pod_that_was_being_made_when_the_node_died_is_made_again(
    up: Up, client: Client, namespace: str
) -> None:
    """Also if its first process ran already and its network was not connected."""
    code = "import socket; socket.getaddrinfo('kubernetes.default.svc.cluster.local', 443)"
    probe = {"exec": {"command": [sys.executable, "-I", "-S", "-c", code]}, "periodSeconds": 1, "timeoutSeconds": 5}
    for number in range(4):
        name, old = f"made{number}", up.component("node")
        await make(client, namespace, pod(name, "exec sleep 1000", container={"readinessProbe": probe}))
        uid = (await client.get(PODS, name, namespace))["metadata"]["uid"]
        stage = up.state / "run" / "p" / uid[:12] / ("", "etc", "etc/hosts", "init.sock")[number]
        eventually("it is being made", stage.exists)
        os.kill(old, signal.SIGKILL)
        await ready(client, namespace, name)


LOOK_UP = (
    "import socket, time\n"
    "failed = count = 0\n"
    "while True:\n"
    " try: socket.getaddrinfo('kubernetes.default.svc.cluster.local', 443)\n"
    " except OSError as error: failed += 1\n"
    " count += 1\n"
    " print(count, failed)\n"
    " time.sleep(0.02)\n"
)


async def test_names_resolve_while_the_node_process_restarts(up: Up, client: Client, namespace: str) -> None:
    argv = [sys.executable, "-I", "-S", "-u", "-c", LOOK_UP]
    await make(client, namespace, pod("asks", "", container={"command": argv}))
    await ready(client, namespace, "asks")

    async def counts() -> tuple[int, int]:
        lines = (await log(client, namespace, "asks", "?tailLines=2")).splitlines()
        count, failed = lines[0].split() if lines else ("0", "0")
        return int(count), int(failed)

    for _ in range(3):
        enough = (await counts())[0] + 20

        async def more(enough: int = enough) -> bool:
            return (await counts())[0] >= enough

        await in_time("names are looked up", more)
        old = up.component("node")
        os.kill(old, signal.SIGKILL)
        assert eventually("another node process", lambda old=old: up.component("node") != old)  # type: ignore[misc]
        await in_time("names are looked up again", more)
    assert (await counts())[1] == 0


async def test_pods_do_not_notice_that_their_fork_server_died(up: Up, client: Client, namespace: str) -> None:
    def zygote() -> int:
        mine = {
            p for p in descendants(up.launcher) if "sailcloth.local.supervisor" in processes(str(up.state)).get(p, "")
        }
        (first,) = [p for p in mine if not {_parent(p), _parent(_parent(p))} & mine]
        return max((p for p in mine if _parent(p) == first and not descendants(p)), default=0)

    marker = f"7{os.getpid()}04"
    await make(client, namespace, pod("stays", f"exec sleep {marker}"))
    await ready(client, namespace, "stays")
    before = _running(marker)
    for number in range(3):
        old = eventually("the fork server runs", zygote)
        os.kill(old, signal.SIGKILL)
        await make(client, namespace, pod(f"next{number}", "exec sleep 1000"))
        await ready(client, namespace, f"next{number}")
        assert zygote() != old
    assert _running(marker) == before


async def test_a_pod_whose_processes_vanish_is_made_again(client: Client, namespace: str) -> None:
    marker = f"7{os.getpid()}02"
    await make(client, namespace, pod("again", f"exec sleep {marker}"))
    await ready(client, namespace, "again")
    first = _running(marker)
    parent = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)  # PID 1 of the pod

    async def restarted() -> bool:
        found = await ready(client, namespace, "again")
        return int(found["containerStatuses"][0]["restartCount"]) == 1

    await in_time("the pod runs again", restarted)
    assert _running(marker) != first


async def test_what_the_api_server_accepted_survives_its_death_mid_write(
    up: Up, client: Client, namespace: str
) -> None:
    accepted: list[str] = []
    stop = asyncio.Event()

    async def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"w{writer}-{number}"
            try:
                await client.create(
                    CONFIGMAPS, {"metadata": {"name": name, "namespace": namespace}, "data": {"n": name}}
                )
                accepted.append(name)
            except ApiError as error:
                if error.status != 409:  # made just before the death, and not confirmed
                    raise
            except (OSError, TimeoutError):
                await asyncio.sleep(0.02)
                continue
            number += 1

    writers = [asyncio.create_task(write(w)) for w in range(4)]
    for _ in range(2):
        enough = len(accepted) + 100

        async def written(enough: int = enough) -> bool:
            return len(accepted) >= enough

        await in_time("a hundred more writes are accepted", written)
        up.kill("apiserver")
    enough = len(accepted) + 50
    await in_time("writes go on after the second death", written)
    stop.set()
    await asyncio.gather(*writers)

    async def kept() -> set[str]:
        found, _ = await client.list(CONFIGMAPS, namespace)
        return {o["metadata"]["name"] for o in found}

    assert set(accepted) <= await in_time("the list can be read", kept)
    await make(client, namespace, pod("after", "exec sleep 1000"))
    await ready(client, namespace, "after")


async def test_a_dead_envoy_is_replaced(up: Up, client: Client, namespace: str) -> None:
    port_80 = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [port_80]}
    await client.create(GATEWAYS, {"metadata": {"name": "any", "namespace": namespace}, "spec": spec})

    async def gateway() -> tuple[str, int]:
        found, _ = await client.list(PODS, "istio-system", label_selector="istio=ingressgateway")
        await ready(client, "istio-system", found[0]["metadata"]["name"])
        status = (await client.get(PODS, found[0]["metadata"]["name"], "istio-system"))["status"]
        return found[0]["metadata"]["uid"], int(status["containerStatuses"][0]["restartCount"])

    def envoys() -> list[int]:
        mine = descendants(up.launcher)
        return [p for p, line in processes("envoy").items() if p in mine and "--disable-hot-restart" in line]

    host, port = up.found["urls"]["gateway"].removeprefix("http://").split(":")

    async def answers() -> bool:
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return (await asyncio.wait_for(reader.readline(), 2)).startswith(b"HTTP/1.1 404")
        finally:
            writer.close()

    await in_time("the host's port of the gateway answers", answers)
    uid, restarts = await gateway()
    for pid in eventually("Envoy runs", envoys):
        os.kill(pid, signal.SIGKILL)

    async def replaced() -> bool:
        return await gateway() == (uid, restarts + 1)

    await in_time("the gateway is ready again", replaced)
    await in_time("the host's port of the gateway answers again", answers)


async def test_the_control_plane_comes_back(up: Up, client: Client, namespace: str) -> None:
    before = up.component("controlplane")
    up.kill("controlplane")
    assert eventually("another control plane", lambda: up.component("controlplane") != before)
    label = {"metadata": {"labels": {"istio-injection": "enabled"}}}
    await client.patch(NAMESPACES, namespace, "", label)

    async def injected() -> bool:
        await make(client, namespace, pod("injected", "exec sleep 1000"))
        return True

    await in_time("the injector answers", injected)
    found = await ready(client, namespace, "injected")
    names = {c["name"] for f in ("containerStatuses", "initContainerStatuses") for c in found.get(f, ())}
    assert "istio-proxy" in names


# -- the launcher and its directory ---------------------------------------------------------------


async def test_a_killed_launcher_leaves_nothing_and_the_next_up_goes_on(own: Up) -> None:
    marker = f"7{os.getpid()}03"
    own.start()
    async with own.client() as client:
        await make(client, "default", pod("kept", f"exec sleep {marker}"))
        await ready(client, "default", "kept")
    inner = descendants(own.launcher) | {own.launcher}
    assert len(inner) > 6
    os.kill(own.launcher, signal.SIGKILL)
    eventually("every process is gone", lambda: not any(Path(f"/proc/{p}").exists() for p in inner), 3)
    assert (own.state / "run" / "up.json").exists(), "the stale record that the next start meets"
    own.start()
    async with own.client() as client:

        async def again() -> bool:  # what was written before the death says ready, until the new node knows better
            found = await ready(client, "default", "kept")
            return int(found["containerStatuses"][0]["restartCount"]) >= 1

        await in_time("the pod runs again", again)
    assert _running(marker) not in inner


def test_two_clusters_in_one_directory_are_refused_and_in_two_are_fine(up: Up) -> None:
    # The second one of another directory is every other test's `own` beside this session's cluster.
    refused = sailctl("up", "--detach", "--state", str(up.state))
    assert refused.returncode != 0
    assert "already running" in refused.stderr
    assert "sailctl down" in refused.stderr
    assert str(up.launcher) in refused.stderr


@pytest.mark.parametrize("option", ["--http-port", "--api-port"])
def test_a_port_in_use_is_named_with_the_option_to_change_it(own: Up, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = sailctl("up", "--detach", "--state", str(own.state), option, port)
    assert refused.returncode != 0
    assert port in refused.stderr
    assert option in refused.stderr
    assert not processes(str(own.state)), "nothing is left running"
    assert "Traceback" not in refused.stderr


def test_a_state_directory_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    refused = sailctl("up", "--detach", "--state", str(in_the_way))
    assert refused.returncode != 0
    assert "--state" in refused.stderr
    refused = sailctl("up", "--detach", "--state", str(tmp_path / ("long" * 30)))
    assert refused.returncode != 0
    assert "too long" in refused.stderr


@pytest.mark.parametrize(("name", "remedy"), [("api.db", "move that file away"), ("pki/ca", "move that folder away")])
def test_a_state_directory_that_was_damaged_says_what_to_move_away(own: Up, name: str, remedy: str) -> None:
    damaged = own.state / "state" / name
    damaged.parent.mkdir(parents=True)
    for path in [damaged] if damaged.suffix else [damaged.with_suffix(".crt"), damaged.with_suffix(".key")]:
        path.write_bytes(os.urandom(8192))
    begin = time.monotonic()
    refused = sailctl("up", "--detach", "--state", str(own.state))
    assert refused.returncode != 0
    assert str(damaged.parent) in refused.stderr
    assert remedy in refused.stderr
    assert "Traceback" not in refused.stderr
    assert time.monotonic() - begin < 15, "it is told at once, not after the time for starting"
    assert not processes(str(own.state))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_key_of_an_earlier_run_is_named_at_once(own: Up, content: bytes) -> None:
    from sailcloth.local.apiserver.auth import pki

    keys = own.state / "state" / "pki"
    pki.load(keys)
    (keys / "ca.key").write_bytes(content)
    begin = time.monotonic()
    refused = sailctl("up", "--detach", "--state", str(own.state))
    assert refused.returncode != 0
    assert str(keys / "ca.key") in refused.stderr
    assert "move that folder away" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert time.monotonic() - begin < 10
    assert not processes(str(own.state))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def work() -> None:
        from sailcloth.local.state import StateDir, StateError

        ns.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=32k")
        with contextlib.suppress(OSError), open(tmp_path / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        with pytest.raises(StateError, match=r"No space left.*--state"):
            StateDir(tmp_path / "state").make()

    inside(work)


def test_without_user_namespaces_the_remedy_is_named() -> None:
    """In a user namespace of the test's own that allows no further one."""
    uid, gid = os.geteuid(), os.getegid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        text = "the child failed"
        try:
            ns.unshare(ns.NEWUSER)
            for name, line in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
                Path(f"/proc/self/{name}").write_text(line)
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
            from sailcloth.local.launcher import NamespacesUnavailable, start_in_namespaces

            try:
                start_in_namespaces(["/bin/true"], [])
                text = "it was let in"
            except NamespacesUnavailable as error:
                text = str(error)
        except BaseException as error:
            text = repr(error)
        finally:
            os.write(write, text.encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    os.waitpid(child, 0)
    assert re.search(r"unshare.*sudo sysctl -w user.max_user_namespaces", said, re.S), said


# -- in the foreground -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_foreground_cluster_ends_with_its_command(own: Up, number: signal.Signals) -> None:
    command = [*SAILCTL, "up", "--state", str(own.state)]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: its children would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        inner = descendants(own.launcher) | {own.launcher}
        begin = time.monotonic()
        process.send_signal(number)
        code = process.wait(10)
    assert code == (-9 if number == signal.SIGKILL else code)
    eventually("every process is gone", lambda: not any(Path(f"/proc/{p}").exists() for p in inner), 5)
    assert time.monotonic() - begin < 3
    assert [p for p in own.state.rglob("*") if p.is_socket()] == []


@pytest.mark.parametrize("moment", ["at once", "later"])
@pytest.mark.parametrize("detach", [True, False])
def test_down_stops_a_start(own: Up, moment: str, detach: bool) -> None:
    command = [*SAILCTL, "up", "--state", str(own.state), *(["--detach"] if detach else [])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        lock = own.state / "run" / ("lock" if moment == "at once" else "up.json")
        eventually("the start has begun", lambda: lock.exists() and lock.read_text(), 10)
        down = sailctl("down", "--state", str(own.state))
        assert down.returncode == 0, down.stderr
        assert "stopped" in down.stdout
        eventually("the launcher ends", lambda: not processes(f"launcher --config {own.state}"), 5)
        _, said = process.communicate(timeout=20)
    assert "Traceback" not in said
    # On a busy machine the start may be over before `down` has begun.
    assert process.returncode == 0 or moment == "at once" or "the cluster was stopped" in said
    assert not processes(str(own.state))


def test_a_cluster_that_ends_unexpectedly_is_started_again_if_asked_to(own: Up) -> None:
    command = [*SAILCTL, "up", "--restart", "-o", "json", "--state", str(own.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        for _ in range(2):
            os.kill(own.launcher, signal.SIGKILL)
            again = json.loads(process.stdout.readline())
            assert again["urls"] == first["urls"]
        assert sailctl("down", "--state", str(own.state)).returncode == 0
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert not processes(str(own.state))


def test_a_foreground_cluster_that_ends_unexpectedly_says_so(own: Up) -> None:
    command = [*SAILCTL, "up", "-o", "json", "--state", str(own.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(own.launcher, signal.SIGKILL)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "ended unexpectedly" in said


def test_doctor_finds_this_machine_fit() -> None:
    done = sailctl("doctor")
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    (limits,) = [line for line in done.stdout.splitlines() if "limits of containers" in line]
    assert "enforced: " in limits or "not enforced without" in limits
