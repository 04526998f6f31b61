"""The fork server and PID 1 of a pod: what runs in it, what it sees, and that it outlives its node."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sailcloth.lib import namespaces as ns
from sailcloth.local import mounts, network, zygote
from sailcloth.local.images import host_paths
from sailcloth.local.node import sandbox_client
from sailcloth.local.node.sandbox_client import Event, SandboxClient
from sailcloth.local.pod_init import container_log

from .image_files import shell_root
from .network_namespaces import inside

ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
DEADLINE_S = 10


class Pod:
    """A pod without a kubelet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid = 0  # of its PID 1
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.link = SandboxClient(f"{directory}/{zygote.SOCKET}", self.events.put_nowait)

    async def until(self, kind: str) -> Event:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                event = await self.events.get()
                assert event is not None, f"the pod ended while waiting for {kind}"
                if event["event"] == kind:
                    return event

    def start(self, name: str, argv: list[str], **more: Any) -> None:
        scratch = self.directory / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        request = {
            "op": "start",
            "name": name,
            "argv": argv,
            "env": ENV,
            "cwd": "/",
            "caps": [],
            "mounts": [],
            "hide": mounts.masked_paths(),
            "etc": str(self.directory / "etc"),
            "ports": [],
        }
        self.link.send({**request, "scratch": str(scratch), "log": str(self.log(name)), **more})

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    async def output(self, name: str, argv: list[str], **more: Any) -> tuple[int, list[str]]:
        """Exit code and the log's lines without their times, once the container has ended."""
        self.start(name, argv, **more)
        code = (await self.until("exited"))["exit"]
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            state = (await self.ask())["containers"][name]
            if not state["running"] and self.log(name).exists():
                break
        await asyncio.sleep(0.05)  # the pipe's end is read after the exit is reported
        return int(code), [line.split(" ", 1)[1] for line in self.log(name).read_text().splitlines()]

    async def ask(self) -> Event:
        other = SandboxClient(f"{self.directory}/{zygote.SOCKET}", lambda _: None)
        try:
            return await other.connect()
        finally:
            other.close()


def in_pod(directory: Path, scenario: Callable[[Pod], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with one fresh pod, whose processes are gone afterwards."""

    def work() -> None:
        network.set_up_node()
        server = str(directory / "z.sock")
        if os.fork() == 0:
            try:
                zygote.serve(server)
            finally:
                os._exit(1)
        end = time.monotonic() + DEADLINE_S
        while not os.path.exists(server) and time.monotonic() < end:
            time.sleep(0.002)
        (directory / "etc").mkdir()
        for name in ("resolv.conf", "hosts", "hostname", "nsswitch.conf"):
            (directory / "etc" / name).write_text(f"# {name} of the pod\n")
        fd = network.add_pod("10.42.0.2")
        pid = zygote.make_pod(server, str(directory), "pod-1", fd)
        os.close(fd)

        async def run() -> None:
            pod = Pod(directory)
            pod.pid = pid
            await pod.link.connect()
            await scenario(pod)
            pod.link.close()

        asyncio.run(run())

    inside(work, pid_namespace=True)


def test_streams_are_told_apart_and_exit_codes_reported(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        code, lines = await pod.output("c", ["/bin/sh", "-c", "echo out; echo err >&2; printf unended; exit 3"])
        assert code == 3
        assert sorted(lines) == ["stderr F err", "stdout F out", "stdout P unended"]
        code, _ = await pod.output("killed", ["/bin/sh", "-c", "kill -9 $$"])
        assert code == 137
        code, lines = await pod.output("absent", ["/no/such/program"])
        assert code == 127
        assert any("/no/such/program" in line for line in lines), lines

    in_pod(tmp_path, scenario)


def test_a_pod_has_its_own_names_network_and_processes_and_no_rights(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        script = "hostname; cat /etc/resolv.conf; ls /sys/class/net | tr '\\n' ' '; echo; ls /run; grep CapEff /proc/self/status; ls -d /proc/[0-9]* | wc -l"
        code, lines = await pod.output("c", ["/bin/sh", "-c", script])
        text = [line.removeprefix("stdout F ") for line in lines]
        assert code == 0, lines
        assert text[:3] == ["pod-1", "# resolv.conf of the pod", "eth0 lo "]
        assert text[-2].endswith("0000000000000000")
        assert int(text[-1]) < 10, "a pod sees its own processes only"

    in_pod(tmp_path, scenario)


def test_the_proxy_may_mark_its_packets_and_the_application_may_not(tmp_path: Path) -> None:
    mark = "import socket; socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1337)"

    async def scenario(pod: Pod) -> None:
        argv = [sys.executable, "-I", "-S", "-c", mark]
        assert (await pod.output("proxy", argv, caps=[ns.CAP_NET_ADMIN, ns.CAP_NET_RAW]))[0] == 0
        code, lines = await pod.output("application", argv)
        assert code == 1
        assert any("PermissionError" in line for line in lines), lines

    in_pod(tmp_path, scenario)


def test_volumes_appear_where_the_host_has_no_such_folder(tmp_path: Path) -> None:
    source = tmp_path / "volume"
    source.mkdir()
    (source / "key").write_text("value\n")
    target = "/opt/sailcloth-test/deep/volume"

    async def scenario(pod: Pod) -> None:
        volumes = [[str(source), target, "ro"], [str(source), "/var/sailcloth-rw", "rw"]]
        script = f"cat {target}/key; echo new > /var/sailcloth-rw/made; echo x 2>/dev/null > {target}/refused || echo read-only"
        code, lines = await pod.output("c", ["/bin/sh", "-c", script], mounts=volumes)
        assert lines == ["stdout F value", "stdout F read-only"], (code, lines)

    in_pod(tmp_path, scenario)
    assert (source / "made").read_text() == "new\n"
    assert not os.path.exists("/opt/sailcloth-test")
    assert not os.path.exists("/var/sailcloth-rw")


def test_home_directories_and_temporary_files_of_the_host_are_not_seen(tmp_path: Path) -> None:
    secret, program, volume = tmp_path / "secret", tmp_path / "program", tmp_path / "volume"
    for folder in (secret, program, volume):
        folder.mkdir()
        (folder / "file").write_text(f"{folder.name}\n")
    hide = mounts.masked_paths(str(tmp_path))
    assert any(str(tmp_path).startswith(h) for h in hide)

    async def scenario(pod: Pod) -> None:
        script = (
            f"cat {secret}/file 2>/dev/null || echo hidden; cat {program}/file; cat /data/file; cat /tmp/data/file;"
            "ls /home; echo x > /tmp/mine; echo y > /var/tmp/mine; echo z > /run/mine; ls /run"
        )
        more = {"hide": hide, "needed": [str(program)]}
        volumes = [[str(volume), "/data", "rw"], [str(volume), "/tmp/data", "ro"]]
        code, lines = await pod.output("c", ["/bin/sh", "-c", script], mounts=volumes, **more)
        assert [line.split()[-1] for line in lines] == ["hidden", "program", "volume", "volume", "mine"], lines
        assert code == 0
        code, lines = await pod.output("c", ["/bin/sh", "-c", "ls /tmp/mine /var/tmp/mine /run/mine | wc -l"], **more)
        assert "stdout F 0" in lines, f"a container that starts again starts with empty folders: {lines}"

    in_pod(tmp_path, scenario)
    assert not os.path.exists("/tmp/mine")
    assert not os.path.exists("/data")


def test_a_root_without_overlay_is_read_only_but_for_what_programs_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, volume = shell_root(tmp_path / "image"), tmp_path / "volume"
    volume.mkdir()
    (volume / "key").write_text("value\n")
    mount = ns.mount

    def without_overlay(source: str, target: str, kind: str | None = None, *more: Any) -> None:
        if kind == "overlay":
            raise OSError("this kernel has no overlay")
        mount(source, target, kind, *more)

    monkeypatch.setattr(ns, "mount", without_overlay)

    async def scenario(pod: Pod) -> None:
        script = (
            "cat /etc/mark /data/deep/key /etc/conf/key; cat /etc/hostname; (echo x > /etc/mark) 2>/dev/null || echo read-only;"
            "touch /tmp/x && echo writes; touch /data/deep/new && echo writes; ls -d /home 2>/dev/null || echo nothing of the host"
        )
        volumes = [[str(volume), "/data/deep", "rw"], [str(volume), "/etc/conf", "ro"]]
        env = {"PATH": "/bin"}
        code, lines = await pod.output("c", ["/bin/sh", "-c", script], root=str(root), mounts=volumes, env=env)
        text = [line.removeprefix("stdout F ") for line in lines]
        assert text[:4] == ["of the image", "value", "value", "# hostname of the pod"], (code, lines)
        assert text[4:] == ["read-only", "writes", "writes", "nothing of the host"], lines

    in_pod(tmp_path, scenario)
    assert (root / "etc" / "mark").read_text() == "of the image\n"
    assert not (root / "data").exists()


def test_what_a_users_program_stands_on_comes_along(tmp_path: Path) -> None:
    python = tmp_path / "pythons" / "bin" / "python3.11"
    link = tmp_path / "venv" / "bin" / "python"
    script = tmp_path / "project" / "serve.sh"
    for path in (python, link, script):
        path.parent.mkdir(parents=True)
    python.write_text("")
    link.symlink_to("../../pythons/bin/python3.11")
    script.write_text(f"#!{link} -I\n")
    script.chmod(0o755)
    found = host_paths.required([str(script), "--port", "80", "/no/such/file"], [str(tmp_path / "more")])
    assert set(found) == {str(tmp_path / name) for name in ("project", "venv", "pythons", "more")}
    assert "/" not in host_paths.required(["/bin/sh", "-c", "echo"])
    alone = host_paths.required(
        [str(script), "/no/such/file"], own=[os.path.dirname(script)]
    )  # a pod's own /tmp stays its own
    assert str(script) in alone
    assert os.path.dirname(script) not in alone


def test_a_node_that_comes_back_finds_the_pod_as_it_is(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        pod.start("lives", ["/bin/sleep", "60"])
        pod.start("ended", ["/bin/sh", "-c", "exit 4"])
        await pod.until("exited")
        pod.link.close()  # the node is gone
        again = Pod(pod.directory)
        found = (await again.link.connect())["containers"]
        assert found["lives"]["running"]
        assert (found["ended"]["running"], found["ended"]["exit"]) == (False, 4)
        again.link.send({"op": "signal", "name": "lives", "signal": int(signal.SIGTERM)})
        assert (await again.until("exited"))["exit"] == 143
        again.link.send({"op": "shutdown"})
        async with asyncio.timeout(DEADLINE_S):
            assert await again.events.get() is None

    in_pod(tmp_path, scenario)


def test_exec_gives_the_commands_output_and_code_and_dies_with_its_connection(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        path = f"{pod.directory}/{zygote.SOCKET}"
        null = os.open("/dev/null", os.O_RDWR)
        read, write = os.pipe()
        link, code = await sandbox_client.execute(
            path, ["/bin/sh", "-c", "hostname; exit 5"], ENV, [null, write, write]
        )
        os.close(write)
        async with asyncio.timeout(DEADLINE_S):
            assert await code == 5
        assert os.read(read, 100) == b"pod-1\n"
        link.close()
        os.close(read)

        read, write = os.pipe()
        link, code = await sandbox_client.execute(
            path, ["/bin/sh", "-c", "echo $$; exec sleep 60"], ENV, [null, write, write]
        )
        os.close(write)
        assert os.read(read, 100)
        asyncio.get_running_loop().remove_reader(link.fileno())
        link.close()
        end = await asyncio.wait_for(asyncio.to_thread(os.read, read, 100), DEADLINE_S)
        assert end == b"", "the command's output stays open: it still runs"
        os.close(read)
        os.close(null)

    in_pod(tmp_path, scenario)


def test_a_message_that_makes_no_sense_is_answered_and_harms_nothing(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        pod.link.send({"op": "start", "name": "c"})
        assert (await pod.until("error"))["name"] == "c"
        assert (await pod.output("fine", ["/bin/true"]))[0] == 0

    in_pod(tmp_path, scenario)


def test_a_log_is_turned_over_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_log, "_MAX_BYTES", 1000)
    log = container_log.ContainerLog(str(tmp_path / "x" / "0.log"))
    for number in range(40):
        log.write("stdout", f"{number} {'x' * 50}\n".encode())
    log.close()
    kept = (tmp_path / "x" / "0.log").read_text() + (tmp_path / "x" / "0.log.old").read_text()
    assert "39 xxx" in kept
    assert (tmp_path / "x" / "0.log").stat().st_size <= 1100


async def _attached(pod: Pod) -> tuple[socket.socket, int, asyncio.Future[int]]:
    """A client at a container's streams: (its connection, where it writes, how the container ends)."""
    read, write = os.pipe()
    out_read, out_write = os.pipe()
    pod.start("talker", ["/bin/sh", "-c", "while read line; do echo heard $line; done; exec sleep 600"], stdin=True)
    await pod.until("started")
    link, code = await sandbox_client.attach(
        f"{pod.directory}/{zygote.SOCKET}", "talker", [read, out_write, out_write], True
    )
    for fd in (read, out_write):
        os.close(fd)
    os.write(write, b"you\n")
    assert await asyncio.wait_for(asyncio.to_thread(os.read, out_read, 100), DEADLINE_S) == b"heard you\n"
    os.close(out_read)
    return link, write, code


def test_a_client_that_leaves_and_its_input_may_end_in_the_same_moment(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        link, write, _ = await _attached(pod)
        os.kill(pod.pid, signal.SIGSTOP)
        asyncio.get_running_loop().remove_reader(link.fileno())
        link.close()
        os.close(write)
        os.kill(pod.pid, signal.SIGCONT)
        state = await pod.ask()
        assert state["containers"]["talker"]["running"]

    in_pod(tmp_path, scenario)


def test_a_container_and_the_input_from_its_client_may_end_in_the_same_moment(tmp_path: Path) -> None:
    async def scenario(pod: Pod) -> None:
        link, write, code = await _attached(pod)
        (child,) = Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text().split()
        os.kill(pod.pid, signal.SIGSTOP)
        os.kill(int(child), signal.SIGKILL)
        end = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < end, "the container did not end"
            await asyncio.sleep(0.002)
        os.close(write)
        os.kill(pod.pid, signal.SIGCONT)
        assert await asyncio.wait_for(code, DEADLINE_S) in (0, 137)
        assert (await pod.until("exited"))["exit"] == 137
        assert not (await pod.ask())["containers"]["talker"]["running"]
        link.close()

    in_pod(tmp_path, scenario)
