"""The server is killed again and again while it is written to: what it answered is there, whole, and watches miss nothing.

`SAILCLOTH_KILLS` is how often it is killed, 100 times if it does not say.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import Resource

from .cluster import Server, until

Object = dict[str, Any]
KILLS = int(os.environ.get("SAILCLOTH_KILLS", "100"))
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
WRITERS = 8

# A process that has read the program once and is forked for each life of the server: most of a start is reading the program.
_PARENT = """
import asyncio, os, sys
from pathlib import Path
import msgspec
import sailcloth.local.controllers.manager, sailcloth.local.apiserver.http.pod_streams
from sailcloth.local.apiserver import __main__ as program
config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=program.Config)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        asyncio.run(program.serve(config))
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


class Mortal(Server):
    """A server that starts in a fraction of the time, to be killed."""

    def __init__(self, root: Path, durability: str) -> None:
        super().__init__(root)
        self._child = 0
        self._ready, write = os.pipe()
        listen = self._socket.dup()
        config = {
            "db": str(root / "api.db"),
            "pki_dir": str(root / "pki"),
            "listen": [{"fd": listen.fileno()}],
            "public_url": self.url,
            "kubeconfig": str(self.kubeconfig),
            "durability": durability,
            "ready_fd": write,
        }
        (root / "config.json").write_text(json.dumps(config))
        with (root / "log").open("ab") as log:
            self.parent = subprocess.Popen(
                [sys.executable, "-c", _PARENT, str(root / "config.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(listen.fileno(), write),
            )
        listen.close()
        os.close(write)

    def live(self) -> int:
        """Start; returns the process that is to be killed when it is ready."""
        assert self.parent.stdin
        assert self.parent.stdout
        self.parent.stdin.write(b"\n")
        self.parent.stdin.flush()
        child = self._child = int(self.parent.stdout.readline())
        ready = select.select([self._ready], [], [], 20)[0]
        assert ready, self.log()
        assert os.read(self._ready, 1) == b"1", self.log()
        return child

    def die(self, child: int) -> None:
        assert self.parent.stdout
        os.kill(child, signal.SIGKILL)
        assert self.parent.stdout.readline() == b"gone\n"
        self._child = 0

    def close(self) -> None:
        if self._child:
            self.die(self._child)
        assert self.parent.stdin
        self.parent.stdin.close()
        self.parent.wait(10)
        assert self.parent.stdout
        self.parent.stdout.close()
        os.close(self._ready)
        super().close()


class Ledger:
    """What was asked for, what was answered, and what a watch has seen."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = defaultdict(int)
        self.answered: dict[str, tuple[int, int, int]] = {}  # name → number, revision, generation
        self.expected: set[tuple[str, int]] = set()  # answered writes, as name and revision, that a watch must tell
        self.told: dict[int, str] = {}
        self.since = 0
        self.begun_again = 0

    def note(self, made: Object) -> None:
        name, number, revision = _read(made)
        before = self.answered.get(name, (0, 0, 0))
        generation = made["metadata"]["generation"]
        assert number >= before[0]
        assert revision > before[1]
        assert generation > before[2]
        self.answered[name] = (number, revision, generation)
        self.expected.add((name, revision))

    def judge(self, found: list[Object], version: int) -> None:
        """A list after a new start."""
        kept = {}
        for obj in found:
            name, number, revision = _read(obj)
            assert number <= self.asked[name], f"{name} has a number that nobody asked for"
            assert revision <= version
            kept[name] = (number, revision, obj["metadata"]["generation"])
        for name, before in self.answered.items():
            now = kept[name]
            assert all(n >= b for n, b in zip(now, before, strict=True)), f"{name} was {before} and is {now}"
            self.answered[name] = now
        assert version >= max((r for _, r, _ in self.answered.values()), default=0)


def _read(obj: Object) -> tuple[str, int, int]:
    """(name, number, revision) of an object whose parts must agree: they were written together."""
    metadata, number = obj["metadata"], obj["spec"]["minAvailable"]
    assert metadata["annotations"] == {"number": str(number)}, obj
    assert obj["spec"]["selector"]["matchLabels"] == {"number": str(number)}, obj
    return metadata["name"], number, int(metadata["resourceVersion"])


async def _write(client: Client, ledger: Ledger, writer: int, over: asyncio.Event) -> None:
    turn = 0
    while not over.is_set():
        turn += 1
        name = f"w{writer}-{turn % 5}"
        number = ledger.asked[name] = ledger.asked[name] + 1
        text = {"number": str(number)}
        spec = {"minAvailable": number, "selector": {"matchLabels": text}}
        try:
            if name in ledger.answered:
                made = await client.patch(BUDGETS, name, "default", {"metadata": {"annotations": text}, "spec": spec})
            else:
                body = {"metadata": {"name": name, "namespace": "default", "annotations": text}, "spec": spec}
                made = await client.create(BUDGETS, body)
        except ApiError as error:
            assert error.reason == "AlreadyExists", error  # noqa: PT017 - created just before the server died
            ledger.answered[name] = (0, 0, 0)
        except OSError:
            return
        else:
            ledger.note(made)


async def _watch(client: Client, ledger: Ledger) -> None:
    """Go on where the last watch was cut off. Ends with the server."""
    query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": str(ledger.since)}
    try:
        async with client.request("GET", BUDGETS.path("default"), params=query) as answer:
            if answer.status == 410:
                ledger.expected.clear()
                ledger.begun_again += 1
                ledger.since = 0
                return
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if not line.endswith(b"\n"):
                    return
                event = json.loads(line)
                assert event["type"] in ("ADDED", "MODIFIED"), event
                name, _, revision = _read(event["object"])
                assert revision > ledger.since, f"{revision} after {ledger.since}"
                ledger.since = revision
                ledger.told[revision] = name
    except OSError:
        pass
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "aiohttp":
            raise


@pytest.mark.timeout(30 + 3 * KILLS)
@pytest.mark.soak
@pytest.mark.parametrize(("durability", "kills"), [("normal", KILLS * 4 // 5), ("full", KILLS - KILLS * 4 // 5)])
async def test_killed_again_and_again(tmp_path: Path, durability: str, kills: int) -> None:
    server, ledger = Mortal(tmp_path, durability), Ledger()
    try:
        for life in range(kills + 1):
            child = server.live()
            async with server.client() as client:
                found, version = await client.list(BUDGETS, "default")
                ledger.judge(found, int(version))
                ledger.since = ledger.since or int(version)
                over = asyncio.Event()
                before = len(ledger.expected)
                writers = [asyncio.create_task(_write(client, ledger, n, over)) for n in range(WRITERS)]
                watch = asyncio.create_task(_watch(client, ledger))
                await until("an answered write", lambda n=before: len(ledger.expected) > n, 20)
                await asyncio.sleep(random.uniform(0, 0.12))
                if life == kills:
                    over.set()
                    await asyncio.gather(*writers)
                    await _all_told(ledger)
                server.die(child)
                await asyncio.wait_for(asyncio.gather(*writers, watch), 20)
    finally:
        server.close()
    assert ledger.begun_again == 0, "so few writes are kept for resuming"
    assert len(ledger.expected) > kills, "each life answered at least one write"


async def _all_told(ledger: Ledger) -> None:
    """Every write that was answered in any life has been told by a watch of that or a later one."""

    def missing() -> list[tuple[str, int]]:
        return sorted(w for w in ledger.expected if ledger.told.get(w[1]) != w[0])

    try:
        await until("every answered write to be told", lambda: not missing())
    except AssertionError:
        raise AssertionError(f"{len(missing())} writes were never told: {missing()[:5]}") from None
