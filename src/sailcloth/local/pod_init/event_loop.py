"""The event loop of a pod's PID 1: starts processes, reaps them, writes logs, and sends events to connected clients.

It listens on a UNIX socket in the pod's directory, so that a restarted node can adopt the pod. Messages are JSON with
descriptors. Imports stay few: every pod has a copy of this process.

Requests: start {name, argv, env, cwd, uid, gid, groups, caps, proxy, privileged, unconfined, log, ports, held, stdin, tty, and what `mounts.container` or, with a root,
`rootfs.container` takes} with descriptors of the ports' sockets, then of control groups, signal {name, signal},
exec {argv, env, tty, caps, container}, attach {container, stdin} with descriptors of stdin, stdout, stderr, resize {container, rows, columns},
keep {socket} with the descriptor of a socket of the node's that outlives it, release {name} (no socket of a container outlives its process any more), state, shutdown.
Events: state (with descriptors of the network namespace and of kept sockets), started, exited, exit (of an exec or an attachment), error.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import selectors
import signal
import socket
import struct
import termios
import time
from typing import Any

from sailcloth.local import seccomp_bind
from sailcloth.local.pod_users import PodUsers

from . import process
from .attachment import Attachment
from .container_log import ContainerLog
from .pid_namespaces import PidNamespaces

_DRAINED_READS = 64  # of 64 KiB each, from the pipes of a container that has ended
_OF_COMMANDS = ("uid", "gid", "groups", "proxy", "privileged", "unconfined")  # commands run as their container does
_SETUP_S = 5.0  # limit of waiting for a container's mounts before it counts as started


class PodInit:
    """The event loop of PID 1."""

    def __init__(self, listener: socket.socket, users: PodUsers, profile: bytes) -> None:
        self._listener, self._users, self._profile = listener, users, profile
        self._pid_namespaces = PidNamespaces()
        self._requests: dict[str, dict[str, Any]] = {}  # what each container was started by
        self._selector = selectors.DefaultSelector()
        self._containers: dict[str, dict[str, Any]] = {}
        self._by_pid: dict[int, str] = {}
        self._execs: dict[int, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._logs: dict[str, tuple[ContainerLog, int]] = {}  # name -> (log, open pipes)
        self._output: dict[str, dict[int, str]] = {}  # name -> the open pipes of its output, and which stream each is
        self._inputs: dict[str, int] = {}  # name -> where its standard input is written; a terminal's master
        self._terminals: set[str] = set()
        self._attached: dict[str, list[Attachment]] = {}
        self._listening: dict[str, seccomp_bind.ListeningSockets] = {}  # name -> sockets that outlive its process
        self._kept: dict[str, int] = {}  # sockets of the node's, by what it calls them
        self._groups: dict[str, list[int]] = {}  # name -> where a process enters the control groups of a container

    def run(self) -> None:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(read, selectors.EVENT_READ, lambda: self._reap(read))
        while True:
            for key, _ in self._selector.select():
                # An earlier one of the same batch may have closed this one's descriptor, or given its number to another.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()

    # -- clients --------------------------------------------------------------------------------

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self._clients.add(client)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._receive(client))

    def _drop(self, client: socket.socket) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client)
            for pid, owner in list(self._execs.items()):
                if owner is client:
                    process.kill(pid, signal.SIGKILL)
            for name, result in self._attached.items():
                for each in [a for a in result if a.client is client]:
                    self._detach(name, each)
            client.close()

    def _send(self, client: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
        try:
            socket.send_fds(client, [json.dumps(message).encode()], fds or [])
        except OSError:
            self._drop(client)

    def _tell(self, message: dict[str, Any]) -> None:
        for client in list(self._clients):
            self._send(client, message)

    def _receive(self, client: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(client, 1 << 18, 16)
        except OSError:
            data, fds = b"", []
        if not data:
            self._drop(client)
            return
        request = json.loads(data)
        try:
            self._handle(client, request, fds)
        except Exception as error:
            self._send(client, {"event": "error", "name": request.get("name", ""), "text": str(error)})
        finally:
            for fd in fds:
                os.close(fd)

    def _handle(self, client: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
        operation = request["op"]
        if operation == "state":
            own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            event = {"event": "state", "containers": self._containers, "kept": [*self._kept]}
            self._send(client, event, [own, *self._kept.values()])
            os.close(own)
        elif operation == "keep":
            if (old := self._kept.pop(request["socket"], -1)) >= 0:
                os.close(old)
            self._kept[request["socket"]] = os.dup(fds[0])
        elif operation == "release":
            if (listening := self._listening.pop(request["name"], None)) is not None:
                listening.release()
        elif operation == "start":
            self._start(request, fds)
        elif operation == "signal":
            known = self._containers.get(request["name"], {})
            if known.get("pid"):
                process.kill(known["pid"], request["signal"])
        elif operation == "exec":
            self._exec(client, request, fds)
        elif operation == "attach":
            self._attach(client, request, fds)
        elif operation == "resize":
            if request["container"] in self._terminals:
                size = struct.pack("HHHH", int(request["rows"]), int(request["columns"]), 0, 0)
                fcntl.ioctl(self._inputs[request["container"]], termios.TIOCSWINSZ, size)
        elif operation == "shutdown":
            os._exit(0)

    # -- processes ------------------------------------------------------------------------------

    def _start(self, request: dict[str, Any], fds: list[int]) -> None:
        name = request["name"]
        ports = {int(p): fds[i] for i, p in enumerate(request.get("ports", ()))}
        kept = {p: os.dup(fd) for p, fd in ports.items()}
        self._keep_groups(name, fds[len(ports) :])
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        stdio, source = process.open_stdio(request, out[1], err[1])
        held = self._held(request)
        ours, theirs = socket.socketpair()
        pending, until_exec = os.pipe2(os.O_CLOEXEC)
        self._pid_namespaces.choose(bool(request.get("proxy")))
        pid = process.fork()
        if pid == 0:
            try:
                if request.get("tty"):
                    fcntl.ioctl(stdio[0], termios.TIOCSCTTY, 0)
                    request["terminal"] = os.ttyname(stdio[0])
                self._enter_groups(name)
                process.start(request, self._users, self._profile, stdio, theirs if ports or held else None, until_exec)
            except BaseException as error:
                os.write(2, f"cannot start {request['argv'][0]}: {error}\n".encode())
            finally:
                os._exit(127)
        theirs.close()
        for fd in (out[1], err[1], stdio[0], until_exec):
            os.close(fd)
        self._close_input(name)
        if source >= 0:
            self._inputs[name] = source
        relayed: list[int] = []
        holds = bool(ports)
        if held is not None:
            holds = self._supervise(ours, held)
        elif not ports:
            ours.close()
        elif not self._supervise(ours, kept):
            relayed, holds = sorted(ports), False
        # A client may exec into the container as soon as it gets the event, so its mounts must be complete.
        select.select([pending], [], [], _SETUP_S)
        os.close(pending)
        self._containers[name] = {
            "pid": pid,
            "running": True,
            "started": time.time(),
            "log": request["log"],
            "relayed": relayed,
            "held": holds,
        }
        self._requests[name] = {key: request[key] for key in _OF_COMMANDS if key in request}
        self._by_pid[pid] = name
        log = ContainerLog(request["log"])
        pipes = [(out[0], "stdout"), (err[0], "stderr")]
        if request.get("tty"):
            self._terminals.add(name)
            for fd, _ in pipes:
                os.close(fd)
            pipes = [(os.dup(source), "stdout")]
        self._logs[name] = (log, len(pipes))
        self._output[name] = dict(pipes)
        for fd, stream in pipes:
            self._selector.register(fd, selectors.EVENT_READ, lambda f=fd, s=stream: self._pump(name, log, f, s))
        event = {"event": "started", "name": name, "pid": pid, "time": time.time(), "relayed": relayed, "held": holds}
        self._tell(event)

    def _held(self, request: dict[str, Any]) -> seccomp_bind.ListeningSockets | None:
        """The sockets of a proxy that outlive its process; None if there are none."""
        wanted = request.get("held")
        if not wanted or request.get("ports"):
            return None
        listening = self._listening.get(request["name"])
        if listening is None or listening.released:
            listening = self._listening[request["name"]] = seccomp_bind.ListeningSockets(
                wanted["ports"], wanted["count"]
            )
        listening.restart()
        return listening

    def _keep_groups(self, name: str, fds: list[int]) -> None:
        for fd in self._groups.pop(name, ()):
            os.close(fd)
        self._groups[name] = [os.dup(fd) for fd in fds]

    def _enter_groups(self, name: str) -> None:
        """In a child: be held to a container's limits."""
        for fd in self._groups.get(name, ()):
            os.write(fd, b"0")

    def _close_input(self, name: str) -> None:
        fd = self._inputs.pop(name, -1)
        self._terminals.discard(name)
        if fd >= 0:
            os.close(fd)

    def _attach(self, client: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
        name = request["container"]
        if name not in self._logs:
            raise OSError(f"container {name} is not running")
        source = os.dup(fds[0]) if request.get("stdin") and name in self._inputs else -1
        attachment = Attachment(client, source, os.dup(fds[1]), os.dup(fds[2]))
        self._attached.setdefault(name, []).append(attachment)
        if source >= 0:
            self._selector.register(source, selectors.EVENT_READ, lambda: self._feed(name, attachment))
        self._send(client, {"event": "started", "name": name})

    def _feed(self, name: str, created: Attachment) -> None:
        """From an attached client to the container's input; the client's end is the input's, unless it is a terminal."""
        try:
            data = os.read(created.source, 4096)
            if data and name in self._inputs:
                os.write(self._inputs[name], data)
                return
        except OSError:
            data = b""
        self._selector.unregister(created.source)
        os.close(created.source)
        created.source = -1
        if not data and name not in self._terminals:
            self._close_input(name)

    def _detach(self, name: str, created: Attachment) -> None:
        if created in self._attached.get(name, []):
            self._attached[name].remove(created)
            if created.source >= 0:
                self._selector.unregister(created.source)
            created.close()

    def _pump(self, name: str, log: ContainerLog, fd: int, stream: str) -> None:
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""  # a terminal reports its end as an error
        if data:
            log.write(stream, data)
            for each in self._attached.get(name, ()):
                each.write(stream, data)
            return
        self._selector.unregister(fd)
        os.close(fd)
        self._output.get(name, {}).pop(fd, None)
        known = self._logs.get(name)
        if known is not None and known[0] is log:
            left = known[1] - 1
            if left:
                self._logs[name] = (log, left)
            else:
                del self._logs[name]
                log.close()
                self._close_input(name)
                code = self._containers.get(name, {}).get("exit")
                for each in list(self._attached.get(name, ())):
                    self._detach(name, each)
                    self._send(each.client, {"event": "exit", "exit": code if code is not None else 0})

    def _drain(self, name: str) -> None:
        """Take in what a container that has ended had written: who hears of its end may read its log for the last lines. A
        process that it left behind may write on, so there is a bound."""
        known = self._logs.get(name)
        for _ in range(_DRAINED_READS):
            poll = select.poll()
            for fd in self._output.get(name, {}):
                poll.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(0)]
            if known is None or not ready:
                return
            for fd in ready:
                self._pump(name, known[0], fd, self._output[name][fd])

    def _supervise(self, ours: socket.socket, sockets: dict[int, int] | seccomp_bind.ListeningSockets) -> bool:
        """Swap the sockets that the child binds, or hold those that it listens on. False if it cannot be supervised, and its
        ports have to be relayed."""

        def end() -> None:
            for held in sockets.values() if isinstance(sockets, dict) else ():
                os.close(held)

        said, fds, _, _ = socket.recv_fds(ours, 1, 1)
        ours.close()
        if not fds:
            end()
            return not said  # the child ended before it could ask
        fd = fds[0]

        def serve() -> None:
            try:
                seccomp_bind.handle_notification(fd, sockets)
            except OSError:
                self._selector.unregister(fd)
                os.close(fd)
                end()

        self._selector.register(fd, selectors.EVENT_READ, serve)
        return True

    def _exec(self, client: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
        name = request.get("container", "")
        joined = self._containers.get(name, {}).get("pid")
        if not joined:
            raise OSError(f"container {name or 'without a name'} is not running")
        started = self._requests[name]
        self._pid_namespaces.choose(bool(started.get("proxy")))
        member = os.pidfd_open(joined)  # its number means another process in the child's PID namespace
        pid = process.fork()
        if pid == 0:
            try:
                if request.get("tty"):
                    fcntl.ioctl(fds[0], termios.TIOCSCTTY, 0)
                self._enter_groups(name)
                process.join(member, started, request, self._users, self._profile, fds[:3])
            except BaseException as error:
                os.write(2, f"{request['argv'][0]}: {error}\n".encode())
                os._exit(126 if isinstance(error, PermissionError) else 127)
        os.close(member)
        self._execs[pid] = client
        self._send(client, {"event": "started", "pid": pid})

    def _reap(self, wakeup: int) -> None:
        os.read(wakeup, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code
            client = self._execs.pop(pid, None)
            if client is not None:
                self._send(client, {"event": "exit", "exit": code})
                continue
            name = self._by_pid.pop(pid, None)
            if name is not None:
                self._drain(name)
                known = self._containers[name]
                known.update(running=False, exit=code, finished=time.time(), pid=0)
                self._tell(
                    {"event": "exited", "name": name, "exit": code, "started": known["started"], "time": time.time()}
                )
