"""Forks the processes of containers and commands, and turns a child into its program."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
from typing import Any

from sailcloth.lib import namespaces as ns
from sailcloth.local import mounts, rootfs, seccomp_bind


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


def execute(
    request: dict[str, Any], stdio: list[int], notify: socket.socket | None = None, until_exec: int = 0
) -> None:
    """In the child: turn into the program; `until_exec` stays open until then. Never returns."""
    for target, fd in enumerate(stdio):
        os.dup2(fd, target)
    if request.get("scratch"):
        (rootfs if request.get("root") else mounts).container(request)
    os.chdir(request.get("cwd") or "/")
    if notify is not None:
        try:
            listener = seccomp_bind.install_filter()
        except (OSError, KeyError):  # a kernel or processor that cannot: the node relays
            notify.send(b"x")
        else:
            socket.send_fds(notify, [b"x"], [listener])
            os.close(listener)
    os.closerange(3, until_exec)
    os.closerange(max(3, until_exec + 1), 4096)
    if request.get("uid") or request.get("gid"):
        ns.show_as(request.get("uid", 0), request.get("gid", 0))
    ns.keep_capabilities(tuple(request.get("caps", ())))
    os.execvpe(request["argv"][0], request["argv"], request["env"])
