"""Namespaces of a test's own: a function runs in a forked child that is root in them, as root or as an ordinary user."""

from __future__ import annotations

import gc
import os
import socket
import traceback
from collections.abc import Callable

from sailcloth.lib import namespaces as ns
from sailcloth.local import network


def inside(work: Callable[[], None], *, pid_namespace: bool = False, uid: int = -1) -> None:
    """Run `work` in new user, network and mount namespaces, as another user if `uid` is not -1. Raises AssertionError with the
    child's traceback."""
    uid, gid, change = (uid, uid, True) if uid >= 0 else (os.geteuid(), os.getegid(), False)
    read, write = os.pipe2(os.O_CLOEXEC)
    gc.collect()
    child = os.fork()
    if child == 0:
        code = 1
        gc.disable()  # what other tests left is not this process's to destroy: gRPC's objects would wait for threads for ever
        try:
            os.close(read)
            if change:
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                ns.set_dumpable(True)
            flags = ns.NEWNET | ns.NEWNS | ns.NEWUTS | ns.NEWIPC | (ns.NEWUSER if uid else 0)
            ns.unshare(flags | (ns.NEWPID if pid_namespace else 0))
            if uid:
                for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                    with open(f"/proc/self/{name}", "w") as file:
                        file.write(text)
            if pid_namespace and (inner := os.fork()):
                _, status = os.waitpid(inner, 0)
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
            ns.die_with_parent()
            ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
            if pid_namespace:
                ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
            work()
            code = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, text or f"the child ended with status {status}"


def add_pod(address: str, load_balancers: str = "") -> int:
    """A connected network namespace. Closing the returned descriptor removes it."""
    fd = ns.new_netns()
    network.connect_pod(fd, address, load_balancers)
    return fd


def listening(netns_fd: int, address: str, port: int) -> socket.socket:
    """A listening socket inside a network namespace."""

    def make() -> socket.socket:
        made = socket.create_server((address, port), backlog=64)
        made.settimeout(3)
        return made

    return ns.in_netns(netns_fd, make)


def connected(netns_fd: int, address: str, port: int, mark: int = 0) -> socket.socket:
    """A connection made from inside a network namespace, with a packet mark if not 0."""

    def make() -> socket.socket:
        made = socket.socket()
        made.settimeout(3)
        if mark:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        made.connect((address, port))
        return made

    return ns.in_netns(netns_fd, make)
