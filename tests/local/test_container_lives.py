"""Containers from start to end: hooks, last words, deadlines, what they share, and their logs."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

from sailcloth.kube.client import Client
from sailcloth.kube.resources import PODS

from .local_cluster import Object, eventually, in_time, processes
from .pods import container, ended, events, gone, log, make, pod, ready, status

IDLE = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


def shared(folder: Path) -> Object:
    """A folder of the host for the pod's traces, which must outlive it."""
    return {"volumes": [{"name": "marks", "hostPath": {"path": str(folder)}}]}


MARKS = {"volumeMounts": [{"name": "marks", "mountPath": "/marks"}]}


async def test_a_container_is_running_once_its_start_hook_is_through(
    client: Client, namespace: str, tmp_path: Path
) -> None:
    hook = {"postStart": {"exec": {"command": ["/bin/sh", "-c", "sleep 0.3; echo first > /marks/hook"]}}}
    first = {"name": "first", "image": "busybox", "command": ["/bin/sh", "-c", IDLE], "lifecycle": hook, **MARKS}
    script = f"cat /marks/hook; {IDLE}"
    second = {"name": "second", "image": "busybox", "command": ["/bin/sh", "-c", script], **MARKS}
    obj = {"metadata": {"name": "hooked"}, "spec": {"containers": [first, second], **shared(tmp_path)}}
    await make(client, namespace, obj)
    await ready(client, namespace, "hooked")

    async def said() -> bool:
        return await log(client, namespace, "hooked", "?container=second") == "first\n"

    await in_time("the second container started after the first one's hook", said)
    await client.delete(PODS, "hooked", namespace, grace=1)
    await gone(client, namespace, "hooked")


async def test_a_start_hook_that_fails_ends_the_container(client: Client, namespace: str) -> None:
    hook = {"lifecycle": {"postStart": {"exec": {"command": ["/bin/sh", "-c", "exit 7"]}}}}
    await make(client, namespace, pod("unhooked", IDLE, container=hook))

    async def restarted() -> bool:
        return int((await container(client, namespace, "unhooked")).get("restartCount") or 0) > 0

    await in_time("the container is started again", restarted)
    assert "exited with 7" in (await events(client, namespace, "unhooked"))["FailedPostStartHook"]


async def test_end_hooks_by_command_request_and_sleep(client: Client, namespace: str, tmp_path: Path) -> None:
    server = (
        "import http.server, pathlib\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        " def do_GET(self):\n"
        "  pathlib.Path('/marks/got').write_text(self.path); self.send_response(200); self.end_headers()\n"
        "http.server.HTTPServer(('', 8080), H).serve_forever()\n"
    )
    listens = "until (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null; do sleep 0.05; done"
    web = {
        "name": "web",
        "image": "busybox",
        "command": [sys.executable, "-I", "-S", "-c", server],
        "ports": [{"containerPort": 8080, "name": "web"}],
        "lifecycle": {
            "postStart": {"exec": {"command": ["/bin/bash", "-c", listens]}},
            "preStop": {"httpGet": {"port": "web", "path": "/bye"}},
        },
        **MARKS,
    }
    script = "trap 'date +%s%N > /marks/term; exit 0' TERM; while :; do sleep 0.02; done"
    slow = {
        "name": "slow",
        "image": "busybox",
        "command": ["/bin/sh", "-c", script],
        "lifecycle": {"postStart": {"tcpSocket": {"port": 8080}}, "preStop": {"sleep": {"seconds": 1}}},
        **MARKS,
    }
    told = ["/bin/sh", "-c", "date +%s%N > /marks/command"]
    quick = {
        "name": "quick",
        "image": "busybox",
        "command": ["/bin/sh", "-c", IDLE],
        "lifecycle": {"preStop": {"exec": {"command": told}}},
        **MARKS,
    }
    obj = {"metadata": {"name": "hooks"}, "spec": {"containers": [web, slow, quick], **shared(tmp_path)}}
    await make(client, namespace, obj)
    await ready(client, namespace, "hooks")
    await client.delete(PODS, "hooks", namespace, grace=10)
    await gone(client, namespace, "hooks")
    assert (tmp_path / "got").read_text() == "/bye"
    waited = int((tmp_path / "term").read_text()) - int((tmp_path / "command").read_text())
    assert waited > 500_000_000, "SIGTERM came before the hook's sleep was over"


async def test_last_words(client: Client, namespace: str) -> None:
    script = "echo from the file > /dev/termination-log; exit 1"
    await make(client, namespace, pod("file", script, restartPolicy="Never"))
    await ended(client, namespace, "file")
    found = (await container(client, namespace, "file"))["state"]["terminated"]
    assert (found["message"], found["reason"], found["exitCode"]) == ("from the file\n", "Error", 1)

    own = {"terminationMessagePath": "/tmp/words", "terminationMessagePolicy": "FallbackToLogsOnError"}
    await make(client, namespace, pod("own", "echo words > /tmp/words", container=own, restartPolicy="Never"))
    await make(client, namespace, pod("log", "echo one; echo two; exit 3", container=own, restartPolicy="Never"))
    for name, message in (("own", "words\n"), ("log", "one\ntwo")):
        await ended(client, namespace, name)
        assert (await container(client, namespace, name))["state"]["terminated"].get("message") == message


async def test_a_deadline_ends_a_pod(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("late", IDLE, activeDeadlineSeconds=3))
    assert await ended(client, namespace, "late") == "Failed"
    found = await status(client, namespace, "late")
    assert found["reason"] == "DeadlineExceeded"

    async def terminated() -> Object:
        return dict((await container(client, namespace, "late"))["state"].get("terminated") or {})

    await in_time("its container has ended", terminated)


async def test_a_deadline_that_comes_while_a_container_starts_leaves_none_running(
    client: Client, namespace: str
) -> None:
    marker = f"7{os.getpid()}21"
    await asyncio.sleep(1.8 - time.time() % 1)  # a pod's time begins with a whole second: for some of these it is short
    for number in range(20):
        await make(client, namespace, pod(f"p{number}", f"exec sleep {marker}", activeDeadlineSeconds=1))
    for number in range(20):
        assert await ended(client, namespace, f"p{number}") == "Failed"
    eventually("nothing of them runs", lambda: not processes(f"sleep {marker}"))


async def test_containers_see_each_others_processes_when_they_share(client: Client, namespace: str) -> None:
    obj = pod("shared", "exec sleep 98765", shareProcessNamespace=True)
    look = "until grep -qa 98765 /proc/[0-9]*/cmdline; do sleep 0.05; done; echo seen; " + IDLE
    obj["spec"]["containers"].append({"name": "other", "image": "busybox", "command": ["/bin/bash", "-c", look]})
    await make(client, namespace, obj)

    async def seen() -> bool:
        return await log(client, namespace, "shared", "?container=other") == "seen\n"

    await in_time("the other container sees the process", seen)


async def test_logs_previous_since_tail_limit_and_stamps_together(client: Client, namespace: str) -> None:
    await make(client, namespace, pod("chatty", "for i in 1 2 3 4; do echo line $i; done; exit 1"))

    async def again() -> bool:
        return int((await container(client, namespace, "chatty")).get("restartCount") or 0) >= 1

    await in_time("the container has run twice", again)

    async def lines(query: str) -> list[str]:
        return (await log(client, namespace, "chatty", query)).splitlines()

    stamped = await lines("?previous=true&timestamps=true")
    assert [x.split(" ", 1)[1] for x in stamped] == [f"line {i}" for i in (1, 2, 3, 4)]
    third = stamped[2].split(" ")[0]
    assert await lines(f"?previous=true&sinceTime={third}") == ["line 3", "line 4"] or third[:26] == stamped[1][:26]
    hours_ahead = quote(third.replace("Z", "+00:00"))
    assert await lines(f"?previous=true&sinceTime={hours_ahead}&tailLines=1&timestamps=true") == stamped[3:]
    assert await lines("?previous=true&tailLines=2&limitBytes=9") == ["line 3", "li"]
    assert await lines("?previous=true&sinceTime=2100-01-01T00:00:00%2B02:00") == []
    assert await lines("?previous=true&sinceTime=2020-01-01T00:00:00-02:00&tailLines=0") == []
    async with client.request("GET", f"/api/v1/namespaces/{namespace}/pods/chatty/log?sinceTime=now") as answer:
        assert answer.status == 400
        assert "RFC 3339" in await answer.text()
