"""Forks the processes of containers and commands, and turns a child into its program."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import stat
from typing import Any

from sailcloth.lib import namespaces as ns
from sailcloth.local import mounts, rootfs, seccomp_bind, seccomp_profile
from sailcloth.local.pod_users import PodUsers


def fork() -> int:
    """Fork. The child leads a session of its own and takes signals as a program does, from its first moment on."""
    caught = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, caught)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def kill(pid: int, number: int) -> None:
    """To a child's whole group, or to the child alone if it does not lead one yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def open_stdio(request: dict[str, Any], out: int, err: int) -> tuple[list[int], int]:
    """(descriptors for the child, where its input is written or -1)."""
    if request.get("tty"):
        master, slave = pty.openpty()
        os.set_inheritable(master, False)
        return [slave, slave, slave], master
    if request.get("stdin"):
        read, write = os.pipe2(os.O_CLOEXEC)
        return [read, out, err], write
    return [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), out, err], -1


def start(
    request: dict[str, Any],
    users: PodUsers,
    profile: bytes,
    stdio: list[int],
    notify: socket.socket | None = None,
    until_exec: int = 0,
) -> None:
    """In the child: turn into a container's program; `until_exec` stays open until then. Never returns."""
    ns.set_dumpable(False)  # it has the cluster's descriptors and rights, and other containers may already run
    _take(stdio, request, users)
    (rootfs if request.get("root") else mounts).container(request, users)
    if notify is not None:
        try:
            listener = seccomp_bind.install_filter(listen=not request.get("ports"))
        except (OSError, KeyError):  # a kernel or processor that cannot: the node relays
            notify.send(b"x")
        else:
            socket.send_fds(notify, [b"x"], [listener])
            os.close(listener)
    if request.get("privileged"):
        _close_others(until_exec)
        os.chdir(request.get("cwd") or "/")
        ns.become(int(request.get("uid") or 0), int(request.get("gid") or 0), [])
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    ns.setns(users.namespace, ns.NEWUSER)
    _close_others(until_exec)
    users.enter(request)
    _execute(request, profile)


def join(
    process: int, started: dict[str, Any], request: dict[str, Any], users: PodUsers, profile: bytes, stdio: list[int]
) -> None:
    """In the child: turn into a command in a running container, which was `started` by that request and
    whose `process` is a descriptor. Never returns."""
    ns.set_dumpable(False)
    _take(stdio, started, users)
    request = {**started, "caps": (), **request}
    ns.setns(process, ns.NEWNS)
    if not started.get("privileged"):
        ns.setns(process, ns.NEWUSER)
    _close_others(0)
    if started.get("privileged"):
        os.chdir(request.get("cwd") or "/")
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    if users.nested(started):
        ns.become(int(started.get("uid") or 0), int(started.get("gid") or 0), [])
    else:
        users.enter(started)
    _execute(request, profile)


def _take(stdio: list[int], request: dict[str, Any], users: PodUsers) -> None:
    """Make descriptors the standard ones. Pipes and terminals are the container's user's, so that it can open /dev/stdout."""
    for target, fd in enumerate(stdio):
        if not request.get("privileged") and (stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd)):
            with contextlib.suppress(OSError):  # of a user's terminal, say, which nobody may give away
                users.chown(fd, int(request.get("uid") or 0), int(request.get("gid") or 0))
        os.dup2(fd, target)


def _close_others(until_exec: int) -> None:
    os.closerange(3, until_exec)
    os.closerange(max(3, until_exec + 1), 4096)


def _execute(request: dict[str, Any], profile: bytes) -> None:
    os.chdir(request.get("cwd") or "/")
    ns.keep_capabilities(tuple(request.get("caps", ())))
    if not request.get("unconfined"):
        seccomp_profile.install(profile)
    os.execvpe(request["argv"][0], request["argv"], request["env"])
