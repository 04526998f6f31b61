"""The zygote: forks the PID 1 of each pod without exec, which takes milliseconds and about a megabyte.

It is forked before threads and heavy imports exist, because most namespaces need a process with one thread. A request has the
pod's directory, its hostname, and the descriptor of its network namespace.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
from typing import Any

from sailcloth.lib import namespaces as ns

from . import mounts
from .pod_init.event_loop import PodInit

SOCKET = "init.sock"


def serve(path: str) -> None:
    """Serve until the parent ends. Never returns."""
    ns.die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(16)
    gc.freeze()
    while True:
        client, _ = listener.accept()
        with client:
            data, fds, _, _ = socket.recv_fds(client, 1 << 18, 4)
            if not data:
                continue
            if os.fork() == 0:
                listener.close()
                _make(json.loads(data), fds, client)
            for fd in fds:
                os.close(fd)


def _make(request: dict[str, Any], fds: list[int], client: socket.socket) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        directory = request["directory"]
        path = f"{directory}/{SOCKET}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(16)
        ns.setns(fds[0], ns.NEWNET)
        ns.unshare(ns.NEWNS | ns.NEWUTS | ns.NEWIPC | ns.NEWPID)
        pid = os.fork()
        if pid:
            client.send(json.dumps({"pid": pid}).encode())
            os._exit(0)  # the pod belongs to PID 1 of the cluster, which reaps it, and whose end is the pod's end too
        client.close()
        for fd in fds:
            os.close(fd)
        ns.sethostname(request["hostname"])
        mounts.pod()
        PodInit(listener).run()
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        os.write(2, f"pod {request['directory']}: {text}\n".encode())  # once it runs nobody waits for an answer
        with contextlib.suppress(OSError):
            client.send(json.dumps({"error": text}).encode())
    finally:
        os._exit(1)


def make_pod(path: str, directory: str, hostname: str, netns_fd: int) -> int:
    """Ask the fork server for a pod. Returns its PID in the node's namespace. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(10)
        link.connect(path)
        socket.send_fds(link, [json.dumps({"directory": directory, "hostname": hostname}).encode()], [netns_fd])
        answer = json.loads(link.recv(65536) or b'{"error": "the fork server closed the connection"}')
    if "error" in answer:
        raise OSError(answer["error"])
    return int(answer["pid"])
