"""Logs, exec, cp and port-forward with stock kubectl, through a node that uses this machine's own processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import Client

from .cluster import Kubectl, NodeSocket, Server, until

Object = dict[str, Any]
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def statuses(restarts: int = 0, state: Object | None = None) -> Object:
    entry = {
        "name": "main",
        "image": "example/web",
        "imageID": "",
        "ready": True,
        "restartCount": restarts,
        "state": state or RUNNING,
    }
    return {"status": {"phase": "Running", "containerStatuses": [entry]}}


@pytest.fixture
async def pod(client: Client, namespace: str) -> Object:
    spec = {"nodeName": "sailcloth", "containers": [{"name": "main", "image": "example/web"}]}
    await client.create(resources.PODS, {"metadata": {"name": "one", "namespace": namespace}, "spec": spec})
    return await client.patch(resources.PODS, "one", namespace, statuses(), sub="status")


@pytest.fixture
def log(server: Server, pod: Object) -> Path:
    metadata = pod["metadata"]
    folder = server.logs / f"{metadata['namespace']}_one_{metadata['uid']}" / "main"
    folder.mkdir(parents=True)
    lines = [f"2026-01-01T00:00:0{n}.000000000Z std{'err' if n == 1 else 'out'} F line {n}\n" for n in range(4)]
    (folder / "0.log").write_text("".join(lines))
    return folder / "0.log"


async def test_logs_and_their_options(kubectl: Kubectl, log: Path) -> None:
    assert await kubectl("logs", "one") == "line 0\nline 1\nline 2\nline 3\n"
    assert await kubectl("logs", "one", "--tail=2") == "line 2\nline 3\n"
    assert await kubectl("logs", "one", "--tail=1", "--timestamps") == "2026-01-01T00:00:03.000000000Z line 3\n"
    assert await kubectl("logs", "one", "--since-time=2026-01-01T00:00:02Z") == "line 2\nline 3\n"
    assert await kubectl("logs", "one", "--limit-bytes=10") == "line 0\nlin"
    assert "previous terminated container" in await kubectl.refused("logs", "one", "--previous")
    assert "container nope is not valid" in await kubectl.refused("logs", "one", "-c", "nope")


async def test_logs_follow_until_the_container_ends(kubectl: Kubectl, log: Path, client: Client) -> None:
    process = await kubectl.start("logs", "-f", "one", "--tail=1")
    assert process.stdout is not None
    async with asyncio.timeout(10):
        assert await process.stdout.readline() == b"line 3\n"
        with log.open("a") as file:
            file.write("2026-01-01T00:00:09.000000000Z stdout F more\n")
        assert await process.stdout.readline() == b"more\n"
        ended = statuses(state={"terminated": {"exitCode": 0, "reason": "Completed"}})
        await client.patch(resources.PODS, "one", kubectl.namespace, ended, sub="status")
        await process.communicate()
    assert process.returncode == 0


async def test_logs_of_the_run_before(kubectl: Kubectl, log: Path, client: Client) -> None:
    log.with_name("1.log").write_text("2026-01-01T00:01:00.000000000Z stdout F again\n")
    await client.patch(resources.PODS, "one", kubectl.namespace, statuses(restarts=1), sub="status")
    assert await kubectl("logs", "one") == "again\n"
    assert (await kubectl("logs", "one", "--previous")).startswith("line 0\n")


async def test_exec_output_and_exit_code(kubectl: Kubectl, pod: Object, node_socket: NodeSocket) -> None:
    result = await kubectl.run("exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert result.code == 7
    assert result.out == "out\n"
    assert result.err.splitlines()[0] == "err"
    assert "No such file" in (await kubectl.run("exec", "one", "--", "/no/such/program")).err


async def test_exec_passes_standard_input_both_ways(kubectl: Kubectl, pod: Object, node_socket: NodeSocket) -> None:
    data = os.urandom(3 << 20)
    program = "import sys, hashlib; print(hashlib.md5(sys.stdin.buffer.read()).hexdigest())"
    said = await kubectl("exec", "-i", "one", "--", sys.executable, "-c", program, input=data)
    assert said.strip() == hashlib.md5(data).hexdigest()


async def test_exec_ends_with_its_client(
    kubectl: Kubectl, pod: Object, node_socket: NodeSocket, client: Client
) -> None:
    process = await kubectl.start("exec", "one", "--", "sh", "-c", "echo started; exec sleep 60")
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 10) == b"started\n"
    started = node_socket.running[-1]
    process.kill()
    await process.communicate()
    await until("the command to be stopped", lambda: started.returncode is not None)


async def test_a_terminal_that_waits_blocks_nobody(
    kubectl: Kubectl, pod: Object, node_socket: NodeSocket, client: Client, server: Server
) -> None:
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/one/exec"
    url = f"{server.url}{path}?command=cat&tty=true&stdin=true&stdout=true&container=main"
    async with asyncio.timeout(10), client.websocket(url, "v5.channel.k8s.io") as socket:
        await socket.send_bytes(b'\4{"Width": 120, "Height": 40}')
        await socket.send_bytes(b"\0hello\n")
        seen = b""
        while seen.count(b"hello") < 2:  # the terminal's echo, and cat
            message = await socket.receive()
            assert message.type == aiohttp.WSMsgType.BINARY
            seen += message.data[1:]
        await client.get(resources.PODS, "one", kubectl.namespace)
        await socket.send_bytes(b"\0\4")  # end of file
        while message.data[:1] != b"\3":
            message = await socket.receive()
            assert message.type == aiohttp.WSMsgType.BINARY
        assert b"Success" in message.data


async def test_cp_there_and_back(kubectl: Kubectl, pod: Object, node_socket: NodeSocket, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_bytes(os.urandom(300_000))
    await kubectl("cp", str(tmp_path / "file"), f"one:{tmp_path}/there/file")
    await kubectl("cp", f"one:{tmp_path}/there/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"hello " * 50_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize("websockets", ["true", "false"])
async def test_port_forward(
    kubectl: Kubectl, pod: Object, node_socket: NodeSocket, web_port: int, websockets: str
) -> None:
    process = await kubectl.start("port-forward", "one", f":{web_port}", KUBECTL_PORT_FORWARD_WEBSOCKETS=websockets)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            for _ in range(3):
                async with session.get(f"http://127.0.0.1:{found[1]}/", headers={"Connection": "close"}) as response:
                    assert len(await response.read()) == 300_000
    finally:
        process.kill()
        await process.communicate()


async def test_logs_follow_to_the_last_line_of_a_deleted_pod(kubectl: Kubectl, log: Path, client: Client) -> None:
    process = await kubectl.start("logs", "-f", "one", "--tail=1")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"line 3\n"
        with log.open("a") as file:
            file.write("2026-01-01T00:00:09.000000000Z stdout F last words\n")
        shutil.rmtree(log.parent)  # as the node does before the object goes
        await client.delete(resources.PODS, "one", kubectl.namespace, grace=0)
        out, _ = await process.communicate()
    assert (out, process.returncode) == (b"last words\n", 0)


async def test_logs_follow_a_rotated_file(kubectl: Kubectl, log: Path, client: Client) -> None:
    process = await kubectl.start("logs", "-f", "one", "--tail=1")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"line 3\n"
        log.rename(log.with_name("0.log.1"))
        log.write_text("2026-01-01T00:00:09.000000000Z stdout F in the new file\n")
        assert await process.stdout.readline() == b"in the new file\n"
        process.terminate()
        await process.communicate()
