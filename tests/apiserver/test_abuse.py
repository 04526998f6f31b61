"""Clients that mean no good, or are broken: none of them keeps the server from the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import ApiError, Client
from sailcloth.local.apiserver.http import watches
from sailcloth.local.apiserver.http.negotiation import Media
from sailcloth.local.apiserver.http.watches import Watcher
from sailcloth.local.apiserver.storage import StorageError, Store

from .cluster import Server, until

Object = dict[str, Any]


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that waits a second for what a client has begun."""
    server = Server(tmp_path, request_timeout_s=1.0)
    try:
        server.start()
        yield server
    finally:
        server.close()


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with server.client() as client:
        assert client.endpoint.context
        host, _, port = server.url.removeprefix("https://").partition(":")
        return await asyncio.open_connection(host, int(port), ssl=client.endpoint.context)


async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What the server says until it closes the connection, which it must in time."""
    try:
        async with asyncio.timeout(10):
            said = await reader.read()
    except (ConnectionResetError, ssl.SSLError):
        said = b""
    await drop(writer)
    return said


async def drop(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await asyncio.wait_for(writer.wait_closed(), 5)


async def test_a_head_that_never_ends(impatient: Server) -> None:
    slow = [await connect(impatient) for _ in range(20)]
    for _, writer in slow:
        writer.write(b"GET /version HTTP/1.1\r\nHost: a\r\n")
    async with impatient.client() as client:
        assert await client.call("GET", "/version")
    assert [await ends(r, w) for r, w in slow] == [b""] * 20


async def test_nothing_at_all(impatient: Server) -> None:
    assert await ends(*await connect(impatient)) == b""


async def test_a_body_that_never_ends(impatient: Server) -> None:
    reader, writer = await connect(impatient)
    path = resources.CONFIGMAPS.path("default")
    writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{{".encode())
    async with asyncio.timeout(10):
        assert b" 408 " in await reader.readline()
    await drop(writer)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /version HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /version HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(1000)) + b"\r\n",
        b"\x00\x01\x02 nonsense\r\n\r\n",
    ],
    ids=["path", "header", "headers", "nonsense"],
)
async def test_heads_have_limits(server: Server, head: bytes) -> None:
    reader, writer = await connect(server)
    writer.write(head)
    async with asyncio.timeout(10):
        assert b" 400 " in await reader.readline()
    await drop(writer)


async def test_a_body_of_unknown_length_has_the_same_limit(server: Server, client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * (1 << 20)

    async with asyncio.timeout(20), client.request("POST", resources.CONFIGMAPS.path("default"), data=endless()) as got:
        assert got.status == 413


async def test_a_watcher_that_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_QUEUE", 10)
    from sailcloth.local.apiserver.registry import Registry

    resource = Registry().get("", "v1", "configmaps")
    assert resource is not None
    store, cut = Store(str(tmp_path / "db")), []
    watcher = Watcher(store, resource, "", lambda _: True, {}, Media(), store.revision)
    watcher.abort = lambda: cut.append(True)
    stop = store.watch(resource.group_resource, store.revision, watcher.notify)
    for number in range(30):
        store.put(resource.group_resource, {"metadata": {"name": f"a{number}", "namespace": "n"}})
    await store.committed()
    assert cut == [True]
    stop()
    store.close()


async def test_others_hear_in_time_beside_one_that_does_not_read(
    server: Server, client: Client, namespace: str
) -> None:
    path = resources.CONFIGMAPS.path(namespace)
    deaf_reader, deaf = await connect(server)
    deaf.transport.pause_reading()
    deaf.write(f"GET {path}?watch=true HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    heard: list[str] = []

    async def listen() -> None:
        async with client.request("GET", path, params={"watch": "true"}) as answer:
            async for line in answer.content:
                heard.append(json.loads(line)["object"]["metadata"]["name"])

    listening = asyncio.create_task(listen())
    for number in range(40):
        body = {"metadata": {"name": f"big-{number}", "namespace": namespace}, "data": {"a": "x" * 50_000}}
        await client.create(resources.CONFIGMAPS, body)
    await until("every event", lambda: sum(n.startswith("big-") for n in heard) >= 40)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    assert not deaf_reader.at_eof()
    await drop(deaf)


async def test_pages_of_one_moment_while_others_write(client: Client, namespace: str) -> None:
    """Every page is of the first page's revision, whatever is created, changed and deleted meanwhile."""
    for number in range(40):
        await client.create(resources.CONFIGMAPS, thing(namespace, number))
    over = asyncio.Event()

    async def write(writer: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            name = f"t{number * 7 % 40:02}"
            if writer == 0:
                await client.patch(resources.CONFIGMAPS, name, namespace, {"data": {"state": f"{number}"}})
            else:
                new = {
                    **thing(namespace, number),
                    "metadata": {"name": f"t{number % 40:02}-new", "namespace": namespace},
                }
                await client.create(resources.CONFIGMAPS, new)
                await client.delete(resources.CONFIGMAPS, new["metadata"]["name"], namespace)

    writers = [asyncio.create_task(write(n)) for n in range(2)]
    path = resources.CONFIGMAPS.path(namespace)
    try:
        for _ in range(5):
            first = json.loads(await client.call("GET", path, limit="7"))
            revision = first["metadata"]["resourceVersion"]
            items, more = list(first["items"]), first["metadata"].get("continue", "")
            while more:
                page = json.loads(await client.call("GET", path, limit="7", **{"continue": more}))
                assert page["metadata"]["resourceVersion"] == revision
                items += page["items"]
                more = page["metadata"].get("continue", "")
            names = [i["metadata"]["name"] for i in items]
            assert names == sorted(set(names))
            assert {f"t{n:02}" for n in range(40)} <= set(names)
            assert sum(n.endswith("-new") for n in names) <= 1
            assert all(int(i["metadata"]["resourceVersion"]) <= int(revision) for i in items)
    finally:
        over.set()
        await asyncio.gather(*writers)


def thing(namespace: str, number: int) -> Object:
    return {"metadata": {"name": f"t{number:02}", "namespace": namespace}, "data": {"state": "0"}}


async def test_bookmarks_come_with_the_latest_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_BOOKMARK_S", 0.05)
    from sailcloth.local.apiserver.registry import Registry

    resource = Registry().get("", "v1", "configmaps")
    assert resource is not None
    store, written = Store(str(tmp_path / "db")), []

    class Response:
        async def write(self, data: bytes) -> None:
            written.append(json.loads(data))

    watcher = Watcher(store, resource, "", lambda _: True, {"allowWatchBookmarks": "true"}, Media(), store.revision)
    store.put("secrets", {"metadata": {"name": "elsewhere", "namespace": "n"}})
    await store.committed()
    running = asyncio.create_task(watcher.run(Response(), False, 60))  # type: ignore[arg-type]
    await until("a bookmark", lambda: written)
    watcher.end()
    await running
    assert written[0]["type"] == "BOOKMARK"
    assert written[0]["object"]["metadata"]["resourceVersion"] == str(store.revision)
    store.close()


async def test_watchers_that_hear_nothing_cost_little(tmp_path: Path) -> None:
    own = Server(tmp_path)
    try:
        own.start()
        async with own.client() as client, contextlib.AsyncExitStack() as watching:
            version = (await client.list(resources.CONFIGMAPS, "default"))[1]
            before = memory_kb(own)
            for _ in range(100):
                query = {"watch": "true", "resourceVersion": version}
                request = client.request("GET", resources.CONFIGMAPS.path("default"), params=query)
                watching.callback((await request.__aenter__()).close)
            assert memory_kb(own) - before < 100 * 150
    finally:
        own.close()


def memory_kb(server: Server) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def test_what_is_nested_too_deep_is_refused_however_it_comes(client: Client, namespace: str) -> None:
    version = {"name": "v1", "served": True, "storage": True}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {"group": f"{namespace}.example", "scope": "Namespaced", "names": {"plural": "wells", "kind": "Well"}}
    crd = {"metadata": {"name": f"wells.{namespace}.example"}, "spec": {**spec, "versions": [version]}}
    await client.create(resources.CRDS, crd)
    path = f"/apis/{namespace}.example/v1/namespaces/{namespace}/wells"

    def well(depth: int) -> bytes:
        return b'{"metadata": {"name": "w%d"}, "spec": %s1%s}' % (depth, b'{"a":' * depth, b"}" * depth)

    await client.call("POST", path, well(100))
    for depth in (130, 250, 255, 400, 1000, 100_000):
        for kind in ("application/json", "application/yaml"):
            with pytest.raises(ApiError) as caught:
                await client.call("POST", path, well(depth), kind=kind)
            assert caught.value.status == 400, depth
    for depth in (300, 5000):
        body = b"metadata: {name: y}\nspec: " + b"{a: " * depth + b"1" + b"}" * depth
        with pytest.raises(ApiError) as caught:
            await client.call("POST", path, body, kind="application/yaml")
        assert caught.value.status == 400
    deeper = [{"op": "add", "path": "/spec" + "/a" * 99, "value": json.loads(b'{"a":' * 60 + b"1" + b"}" * 60)}]
    with pytest.raises(ApiError, match="within each other") as caught:
        await client.call("PATCH", f"{path}/w100", deeper, kind="application/json-patch+json")
    assert caught.value.status == 400


async def test_an_object_that_cannot_be_kept_spoils_nobody_elses_write(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "db"))
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    store.put("wells", {"metadata": {"name": "deep", "namespace": "n"}, "spec": deep})
    with pytest.raises(StorageError):
        await store.committed()
    assert store.get("wells", "n", "deep") is None
    store.put("wells", {"metadata": {"name": "next", "namespace": "n"}})
    await store.committed()
    store.close()


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\n" + "[" * 40_000, "collections within each other"),
        ("---\n" + "{a: " * 40_000, "collections within each other"),
        (BOMB, "nodes once its aliases are expanded"),
        ("a: &a [*a]\n", "stands in what it names"),
    ],
    ids=["brackets", "maps", "aliases", "itself"],
)
async def test_yaml_that_is_larger_than_it_looks(client: Client, namespace: str, text: str, words: str) -> None:
    path = resources.CONFIGMAPS.path(namespace)
    async with client.request("POST", path, data=text.encode(), headers={"Content-Type": "application/yaml"}) as got:
        body = await got.json(content_type=None)
    assert got.status == 400, body
    assert re.search(words, body["message"]), body["message"]
    await client.call("GET", "/version")


async def test_aborted_sessions_leave_no_descriptors(tmp_path: Path) -> None:
    """Clients that disconnect while the node has not answered yet, and while a command runs."""
    server = Server(tmp_path)
    node = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        node.bind(str(server.node_socket))
        node.listen(64)
        server.start()
        async with server.client() as client:
            spec = {"nodeName": "sailcloth", "containers": [{"name": "main", "image": "i"}]}
            await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
            main = {
                "name": "main",
                "image": "i",
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }
            running = {"status": {"phase": "Running", "containerStatuses": [main]}}
            await client.patch(resources.PODS, "p", "default", running, sub="status")
            path = resources.PODS.path("default", "p", "exec")
            assert server.process is not None
            before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
            node.setblocking(False)
            for tty in ("true", "false") * 15:
                query = {"command": "sleep", "stdin": "true", "stdout": "true", "tty": tty}
                session = asyncio.ensure_future(_upgrade(client, f"{server.url}{path}", query))
                link, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(node), 20)
                session.cancel()
                await asyncio.gather(session, return_exceptions=True)
                link.close()

            async def as_before() -> bool:
                assert server.process is not None
                return len(os.listdir(f"/proc/{server.process.pid}/fd")) <= before + 4

            await until("descriptors are closed", as_before, 20)
    finally:
        node.close()
        server.close()


async def _upgrade(client: Client, url: str, query: dict[str, str]) -> None:
    """A websocket that is dropped without a word when the task is cancelled."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client.endpoint.context)) as session,
        session.ws_connect(url, params=query, protocols=("v5.channel.k8s.io",)) as ws,
    ):
        try:
            await asyncio.sleep(60)
        finally:
            assert ws._response.connection is not None
            assert ws._response.connection.transport is not None
            ws._response.connection.transport.abort()


@pytest.mark.parametrize("line", ["CONNECT example.com:443", "CONNECT /api", "OPTIONS *", "TRACE /api/v1/pods"])
async def test_a_request_that_is_for_nothing(server: Server, line: str) -> None:
    reader, writer = await connect(server)
    writer.write(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    said = await ends(reader, writer)
    assert int(said.split()[1]) in (400, 401, 404, 405), said
    assert b'"kind":"Status"' in said


# -- connections ------------------------------------------------------------------------------------


def resident_mib(server: Server) -> float:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def descriptors(server: Server) -> int:
    assert server.process is not None
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


async def flood(server: Server, number: int, first: bytes, opened: list[socket.socket]) -> None:
    """Connections without TLS, for the caller to close; `first` is sent on each."""
    port = int(server.url.rpartition(":")[2])
    loop = asyncio.get_running_loop()
    for _ in range(number):
        opened.append(socket.socket())
        opened[-1].setblocking(False)
        with contextlib.suppress(ConnectionError):  # the server may close it at once
            async with asyncio.timeout(20):
                await loop.sock_connect(opened[-1], ("127.0.0.1", port))
            opened[-1].send(first)


@pytest.fixture
def many_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6000:
        pytest.skip("needs 6000 file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))


@pytest.mark.parametrize(
    ("number", "first"), [(2000, b""), (2000, b"\x16\x03\x01\x02\x00")], ids=["silent", "handshakes"]
)
async def test_connections_of_nobody_are_limited(
    tmp_path: Path, many_descriptors: None, number: int, first: bytes
) -> None:
    """They cost little, clients who authenticate do not notice, and what they cost comes back."""
    server = Server(tmp_path, authentication_timeout_s=3.0)
    opened: list[socket.socket] = []
    try:
        server.start()
        async with server.client() as client:
            assert await client.list(resources.NAMESPACES)
            before, files = resident_mib(server), descriptors(server)
            task = asyncio.create_task(flood(server, number, first, opened))
            while not task.done():
                async with asyncio.timeout(5), server.client() as another:
                    assert await another.list(resources.NAMESPACES)
                    assert await client.list(resources.NAMESPACES)
            await task
            assert descriptors(server) < files + 300
            assert resident_mib(server) < before + 60  # 130 MiB without a limit
            await until("the rest is closed", lambda: descriptors(server) <= files + 3, 15)
            assert await client.list(resources.NAMESPACES)
        assert re.search(r"closed \d+ unauthenticated connections over the limit \(limit 256", server.log())
        assert len(server.log().splitlines()) < 10, server.log()
    finally:
        for one in opened:
            one.close()
        server.close()


async def test_a_slow_head_of_nobody(tmp_path: Path) -> None:
    """A byte now and then does not keep a connection that has not authenticated."""
    server = Server(tmp_path, authentication_timeout_s=1.0)
    try:
        server.start()
        reader, writer = await connect(server)
        writer.write(b"GET /version HTTP/1.1\r\n")
        async with asyncio.timeout(10):
            while not reader.at_eof():
                writer.write(b"A: b\r\n")
                with contextlib.suppress(TimeoutError):
                    assert not await asyncio.wait_for(reader.read(1), 0.1)
        await drop(writer)
    finally:
        server.close()


async def test_a_user_has_a_limit_of_connections(tmp_path: Path) -> None:
    server = Server(tmp_path, max_per_user=3)
    try:
        server.start()
        async with server.client() as admin:
            account = resources.SERVICEACCOUNTS.path("default", "default")
            await until("the service account", lambda: admin.call("GET", account), 10)
            request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
            made = json.loads(await admin.call("POST", f"{account}/token", request))
            token = made["status"]["token"]
            assert admin.endpoint.context
            trust = ssl.create_default_context(cadata=(tmp_path / "pki" / "ca.crt").read_text())
            trust.check_hostname = False
            headers = {"Authorization": f"Bearer {token}"}
            async with contextlib.AsyncExitStack() as stack:
                codes = []
                for _ in range(5):
                    connector = aiohttp.TCPConnector(ssl=trust)
                    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
                    async with session.get(f"{server.url}/api", headers=headers) as got:
                        codes.append(got.status)
                        assert got.status == 200 or (await got.json())["reason"] == "TooManyRequests"
                assert codes == [200, 200, 200, 429, 429]
                assert await admin.call("GET", "/version")
    finally:
        server.close()
