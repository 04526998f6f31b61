"""The zygote: forks the PID 1 of each pod without exec, which takes milliseconds and about a megabyte.

It is forked before threads and heavy imports exist, because most namespaces need a process with one thread. A request has the
pod's directory and its hostname. Each pod has a user namespace, which owns its network namespace: a capability that a container
has is one over its own pod.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import signal
import socket
from typing import Any

from sailcloth.lib import namespaces as ns

from . import mounts, pod_users, seccomp_profile
from .pod_init.event_loop import PodInit

SOCKET = "init.sock"


def serve(path: str, number: int = 0) -> None:
    """Serve until the parent ends. `number` is the cluster's. Never returns."""
    ns.die_with_parent()
    first, count = pod_users.host_range(number)
    owners = pod_users.owners(first, count)
    profile = seccomp_profile.for_this_machine()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = _listen(path)
    gc.freeze()
    while True:
        client, _ = listener.accept()
        with client:
            data = client.recv(1 << 18)
            if data and os.fork() == 0:
                listener.close()
                _make(json.loads(data), client, pod_users.PodUsers(-1, owners, first, count), profile)


def _listen(path: str) -> socket.socket:
    """A listening socket at a path, where it is not seen before it listens."""
    new = f"{path}+"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(new)
    os.chmod(new, 0o600)
    listener.listen(16)
    os.rename(new, path)
    return listener


def _make(request: dict[str, Any], client: socket.socket, users: pod_users.PodUsers, profile: bytes) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        directory = request["directory"]
        path = f"{directory}/{SOCKET}"
        listener = _listen(path)
        user_namespace, netns = ns.new_user_namespace([(0, users.first, users.count)], ns.NEWNET)
        ns.setns(netns, ns.NEWNET)
        ns.unshare(ns.NEWNS | ns.NEWUTS | ns.NEWIPC | ns.NEWPID)
        pid = os.fork()
        if pid:
            socket.send_fds(client, [json.dumps({"pid": pid}).encode()], [netns])
            os._exit(0)  # the pod belongs to PID 1 of the cluster, which reaps it, and whose end is the pod's end too
        client.close()
        os.close(netns)
        ns.sethostname(request["hostname"])
        mounts.pod()
        PodInit(listener, dataclasses.replace(users, namespace=user_namespace), profile).run()
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        os.write(2, f"pod {request['directory']}: {text}\n".encode())  # once it runs nobody waits for an answer
        with contextlib.suppress(OSError):
            client.send(json.dumps({"error": text}).encode())
    finally:
        os._exit(1)


def make_pod(path: str, directory: str, hostname: str) -> tuple[int, int]:
    """Ask the fork server for a pod. Returns its PID in the node's namespace, and a descriptor of its network namespace, which
    belongs to the pod's user namespace and is not connected yet. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(10)
        link.connect(path)
        link.send(json.dumps({"directory": directory, "hostname": hostname}).encode())
        data, fds, _, _ = socket.recv_fds(link, 65536, 1)
    answer = json.loads(data or b'{"error": "the fork server closed the connection"}')
    if "error" in answer:
        raise OSError(answer["error"])
    return int(answer["pid"]), fds[0]
