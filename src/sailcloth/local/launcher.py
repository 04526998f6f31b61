"""The launcher of a local cluster: creates its namespaces, holds sockets of the host, relays egress traffic.

`python -m sailcloth.local.launcher --config FILE`. When it exits, the kernel kills everything inside. For an ordinary user it
creates a user namespace that maps the user to root; as root it needs none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from sailcloth.lib import descriptors
from sailcloth.lib import namespaces as ns

from . import cgroups, egress
from .state import StateDir, StateError


class NamespacesUnavailable(Exception):
    """This machine does not allow what a local cluster needs."""


def bind(port: int, what: str) -> socket.socket:
    """A listening socket on the host's loopback. Raises StateError if the port is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sock.close()
        option = {"API server": "--api-port", "gateway": "--http-port"}.get(what, "")
        raise StateError(
            f"port {port} for the {what} is not free ({error.strerror}); choose another with {option}"
        ) from None
    sock.listen(1024)
    sock.setblocking(False)  # a property of the open socket: whoever it is handed to must not block in accept
    return sock


def resolver() -> socket.socket | None:
    """A UDP socket connected to the host's first IPv4 name server."""
    with contextlib.suppress(OSError):
        for result in re.findall(r"^\s*nameserver\s+([\d.]+)\s*$", Path("/etc/resolv.conf").read_text(), re.M):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect((result, 53))
            return sock
    return None


def start_in_namespaces(argv: list[str], fds: list[int]) -> int:
    """Start a program as PID 1 of new namespaces. Returns the PID of its parent. Raises NamespacesUnavailable."""
    rootless = os.geteuid() != 0
    uid, gid, parent = os.geteuid(), os.getegid(), os.getpid()
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        stage = "unshare"
        try:
            os.close(read)
            ns.unshare(ns.NEWNET | ns.NEWNS | ns.NEWUTS | ns.NEWIPC | ns.NEWPID | (ns.NEWUSER if rootless else 0))
            if rootless:
                stage = "uid_map"
                for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                    Path(f"/proc/self/{name}").write_text(text)
            ns.die_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            stage = "mount"
            ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
            child = os.fork()
            if child:
                os.close(write)
                for caught in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(caught, lambda n, _: os.kill(child, n))
                os.closerange(3, 4096)
                while True:
                    with contextlib.suppress(InterruptedError):
                        _, status = os.waitpid(child, 0)
                        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
            ns.die_with_parent()
            with contextlib.suppress(OSError):
                ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
            for fd in fds:
                os.set_inheritable(fd, True)
            os.setsid()
            stage = "exec"
            os.execvp(argv[0], argv)
        except BaseException as error:
            number = error.errno if isinstance(error, OSError) else 0
            os.write(write, json.dumps({"stage": stage, "errno": number, "text": str(error)}).encode())
        finally:
            os._exit(110)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        failed = file.read()
    if failed:
        os.waitpid(pid, 0)
        from .doctor import explain

        data = json.loads(failed)
        raise NamespacesUnavailable(explain(data["stage"], data["errno"], data["text"]))
    return pid


async def run(config: dict[str, Any]) -> int:
    """Run the cluster until a signal arrives, the cluster ends, or the parent process ends."""
    state = StateDir(Path(config["state"]))
    state.make()
    lock = config.get("lock_fd", -1)  # of the command that started this process
    if lock >= 0:
        os.set_inheritable(lock, False)
        state.hold(lock)
    else:
        lock = state.acquire()
    _delete_unused_images(state)
    groups = cgroups.prepare(f"sailcloth-{state.number:08x}")
    try:
        return await _cluster(config, state, groups)
    finally:
        cgroups.remove(groups)
        os.close(lock)


async def _cluster(config: dict[str, Any], state: StateDir, groups: dict[str, str]) -> int:
    api, http = bind(config["api_port"], "API server"), bind(config["http_port"], "gateway")
    https = bind(config.get("https_port", 0), "gateway's HTTPS")
    upstream = resolver()
    ours, theirs = socket.socketpair()
    publish, asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sockets: dict[str, str] = {}
    for number, (origin, (host, port, tls)) in enumerate(config.get("upstreams", {}).items()):
        sockets[origin] = str(state.run / f"to-{number}.sock")
        await egress.serve_to(Path(sockets[origin]), host, port, tls)
    inner = {
        **config,
        "sockets": sockets,
        "api_fd": api.fileno(),
        "http_fd": http.fileno(),
        "https_fd": https.fileno(),
        "resolver_fd": upstream.fileno() if upstream is not None else -1,
        "channel_fd": theirs.fileno(),
        "publish_fd": asking.fileno(),
        "groups": groups,
        "api_url": f"https://127.0.0.1:{api.getsockname()[1]}",
    }
    path = state.run / "supervisor.json"
    path.write_text(json.dumps(inner))
    fds = [
        inner[name]
        for name in ("api_fd", "http_fd", "https_fd", "resolver_fd", "channel_fd", "publish_fd")
        if inner[name] >= 0
    ]
    argv = [sys.executable, "-m", "sailcloth.local.supervisor", str(path)]
    pid = start_in_namespaces(argv, fds)
    theirs.close()
    asking.close()
    record = {
        "pid": os.getpid(),
        "api": inner["api_url"],
        "gateway": f"http://127.0.0.1:{http.getsockname()[1]}",
        "gateway_https": f"https://127.0.0.1:{https.getsockname()[1]}",
        "kubeconfig": str(state.kubeconfig),
        "started": time.time(),
    }
    temporary = state.record.with_suffix(".new")
    temporary.write_text(json.dumps(record))
    temporary.rename(state.record)
    publish.setblocking(False)
    asyncio.get_running_loop().add_reader(publish.fileno(), PublishedPorts(publish).serve)
    code = await _wait_for_end(pid, ours, config.get("parent_fd", -1))
    for name in (state.record, path):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()
    state.remove_sockets()
    return code


def _delete_unused_images(state: StateDir) -> None:
    """Delete root file systems of images that were removed while pods used them."""
    if not state.roots.is_dir():
        return
    from .images import catalog, rootfs_store

    with contextlib.suppress(catalog.CatalogError):  # told when an image is asked for
        rootfs_store.delete_unused(
            state.roots.resolve(),
            [str(e.get("root") or "") for e in catalog.Catalog(str(state.images)).user_images().values()],
        )


class PublishedPorts:
    """Sockets on the host's loopback, which the node accepts connections or receives datagrams on. They stay open while the node's process
    restarts: clients wait, and the next process gets the same sockets."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._sockets: dict[tuple[str, int, str], socket.socket] = {}

    def serve(self) -> None:
        """Answer a request of the node: {address, port, protocol} for a socket, {withdraw: [[address, port, protocol]…]}, or {only: …} to
        withdraw all but those."""
        try:
            data = self._channel.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            return
        asked = json.loads(data)
        if "address" in asked:
            try:
                bound = self._socket(asked["address"], int(asked["port"]), asked["protocol"])
                socket.send_fds(self._channel, [data], [bound.fileno()])
            except OSError as error:
                self._channel.send(json.dumps({**asked, "error": error.strerror or str(error)}).encode())
            return
        named = {(str(a), int(p), str(t)) for a, p, t in asked.get("withdraw") or asked.get("only") or ()}
        for place in [p for p in self._sockets if (p in named) == ("withdraw" in asked)]:
            self._sockets.pop(place).close()

    def _socket(self, address: str, port: int, protocol: str) -> socket.socket:
        """Raises OSError."""
        known = self._sockets.get((address, port, protocol))
        if known is not None:
            return known
        if not ipaddress.ip_address(address).is_loopback:
            raise OSError(errno.EADDRNOTAVAIL, "not a loopback address")
        udp = protocol == "UDP"
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        try:
            if not udp:  # two UDP sockets with this option would share an address
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((address, port))
            if not udp:
                bound.listen(128)
        except OSError:
            bound.close()
            raise
        self._sockets[address, port, protocol] = bound
        return bound


async def _wait_for_end(pid: int, channel: socket.socket, parent_fd: int) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent_fd >= 0:
        loop.add_reader(parent_fd, stop.set)
    channel.setblocking(False)
    ended = asyncio.ensure_future(asyncio.to_thread(os.waitpid, pid, 0))
    got = asyncio.ensure_future(descriptors.readable(channel.fileno()))
    await asyncio.wait({got, ended}, return_when=asyncio.FIRST_COMPLETED)
    if got.done():
        _, fds, _, _ = socket.recv_fds(channel, 16, 1)
        if fds:
            await egress.serve(socket.socket(fileno=fds[0]))
    got.cancel()
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await asyncio.wait({ended}, timeout=2.5)
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await ended
    waiting.cancel()
    return os.waitstatus_to_exitcode(ended.result()[1]) if not stop.is_set() else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="sailcloth-launcher", description="Runs a local cluster.")
    parser.add_argument("--config", required=True, help="JSON file: state, api_port, http_port, parent_fd")
    arguments = parser.parse_args()
    config = json.loads(Path(arguments.config).read_text())
    ctypes.CDLL(None).prctl(15, b"sailcloth", 0, 0, 0)
    try:
        code = asyncio.run(run(config))
    except (StateError, NamespacesUnavailable) as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
