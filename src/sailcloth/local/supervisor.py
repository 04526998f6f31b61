"""PID 1 of the cluster's namespaces: sets up the node's network, and starts and restarts the cluster's processes.

API server, control plane, node and the pods' fork server restart independently of each other; pods keep running without any of
them. Sockets that must outlive a process, so that its clients wait instead of failing, are opened here and inherited. This
process must stay small: when it exits, the cluster ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import zygote
from .state import StateDir

_BACKOFF_S = (0.05, 5.0)
_STARTED_S = 3.0  # a process that lived for so long did not fail to start
_UNUSABLE_STATE = 78  # a process's exit code for: what is on disk is wrong, starting again does not help


class Backoff:
    """How long to wait before a process is started again. Only one that fails by itself, and early, has to wait."""

    def __init__(self) -> None:
        self._next = _BACKOFF_S[0]

    def ended(self, code: int, lived_s: float) -> float:
        """Seconds until the next start. `code` is negative for the signal that ended the process."""
        if lived_s >= _STARTED_S or code in (-signal.SIGKILL, -signal.SIGTERM):
            self._next = _BACKOFF_S[0]
            return 0.0
        delay, self._next = self._next, min(self._next * 2, _BACKOFF_S[1])
        return delay


class _Child:
    """One supervised process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        self.due = 0.0
        self._backoff = Backoff()
        self._started = 0.0

    def start(self) -> None:
        self.pid, self._started, self.due = self._spawn(), time.monotonic(), 0.0

    def ended(self, code: int) -> None:
        now = time.monotonic()
        delay = self._backoff.ended(code, now - self._started)
        print(f"{self.name} ended with {code}; starting again in {delay:.2f} s", flush=True)
        self.pid, self.due = 0, now + delay

    def _spawn(self) -> int:
        raise NotImplementedError


class _Process(_Child):
    """A Python module with a configuration file and a log."""

    def __init__(
        self, name: str, module: str, config: dict[str, Any], state: StateDir, fds: tuple[int, ...] = ()
    ) -> None:
        super().__init__(name)
        self._module, self._fds = module, fds
        self._path = state.run / f"{name}.json"
        self._path.write_text(json.dumps(config))
        self._log = state.logs / f"{name}.log"

    def _spawn(self) -> int:
        if self._log.exists() and self._log.stat().st_size > 20 << 20:
            self._log.replace(self._log.with_suffix(".log.old"))
        argv = [sys.executable, "-m", self._module, "--config", str(self._path)]
        with self._log.open("ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=self._fds)
        process.returncode = 0  # reaped below, with everything else
        return process.pid


class _Zygote(_Child):
    """The pods' fork server, a copy of this process. It has no pod to lose: each belongs to this process, not to its maker."""

    def __init__(self, path: str, number: int) -> None:
        super().__init__("zygote")
        self._path, self._number = path, number

    def _spawn(self) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                zygote.serve(self._path, self._number)
            finally:
                os._exit(1)
        return pid


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    state = StateDir(Path(config["state"]))
    _limits()
    zygote_socket = str(state.run / "zygote.sock")
    fork_server = _Zygote(zygote_socket, state.number)
    fork_server.start()  # before more modules are imported, of which every pod would have a copy
    from sailcloth.lib.nftables import Nftables

    from . import network

    network.set_up_node()
    for rules in (network.egress_rules(), network.pod_rules()):
        Nftables().commit(rules)
    _hand_out_egress(config["channel_fd"])
    processes = _processes(config, state, zygote_socket)
    children = [fork_server, *processes]
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wakeup, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for process in processes:
        process.start()
    while not stopping:
        now = time.monotonic()
        for child in children:
            if child.due and child.due <= now:
                child.start()
        due = [c.due - now for c in children if c.due]
        _wait(wakeup, min([60.0, *due]))
        for pid, code in _reap():
            for child in children:
                if child.pid == pid and not stopping:
                    if code == _UNUSABLE_STATE:
                        sys.exit(code)
                    child.ended(code)
    _stop(processes)


def _wait(wakeup: int, seconds: float) -> None:
    """Until a signal or the time has passed."""
    if select.select([wakeup], [], [], max(0.0, seconds))[0]:
        os.read(wakeup, 4096)


def _reap() -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return out
        if not pid:
            return out
        out.append((pid, os.waitstatus_to_exitcode(status)))


def _stop(processes: Sequence[_Child]) -> None:
    """The API server closes its database, at once when nobody watches it any more; the rest needs no farewell: what PID 1
    leaves behind the kernel ends."""
    api, *clients = processes
    for process in clients:
        if process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    if api.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(api.pid, signal.SIGTERM)
        end = time.monotonic() + 1.5
        while time.monotonic() < end and api.pid not in {pid for pid, _ in _reap()}:
            time.sleep(0.01)
    sys.exit(0)


def _limits() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def _hand_out_egress(channel_fd: int) -> None:
    """The listener that pods' outward connections are redirected to; it is accepted on outside."""
    from .network import EGRESS_PORT

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", EGRESS_PORT))  # noqa: S104  in the cluster's network; redirected connections of pods come there
    listener.listen(1024)
    with socket.socket(fileno=channel_fd) as channel:
        socket.send_fds(channel, [b"x"], [listener.fileno()])
    listener.close()


def _dns_sockets() -> tuple[int, int]:
    """Sockets of the cluster's DNS over UDP and TCP: queries wait in them while the node process restarts."""
    from .network import DNS_IP

    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((DNS_IP, 53))
    stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stream.bind((DNS_IP, 53))
    stream.listen(128)
    for each in (datagrams, stream):
        each.setblocking(False)
    return datagrams.detach(), stream.detach()


def _load_balancers(state: StateDir) -> str:
    """A range of the host's loopback that two clusters of one machine seldom share; a taken port of an address is told as an event."""
    return f"127.{16 + state.number % 224}.0.0/16"


def _processes(config: dict[str, Any], state: StateDir, zygote_socket: str) -> list[_Process]:
    from .network import NODE_IP

    kubeconfigs = {
        name: str(state.root / "state" / f"{name}.kubeconfig")
        for name in ("node", "controlplane", "telemetry", "console")
    }
    node_socket = str(state.run / "node.sock")
    dns_sockets = _dns_sockets()
    names = state.run / "names.json"
    names.unlink(missing_ok=True)  # of an earlier cluster, whose pods had other addresses
    api = {
        "db": str(state.database),
        "pki_dir": str(state.pki),
        "listen": [{"host": NODE_IP, "port": 6443}, {"fd": config["api_fd"]}],
        "public_url": config["api_url"],
        "kubeconfig": str(state.kubeconfig),
        "component_kubeconfigs": kubeconfigs,
        "component_url": f"https://{NODE_IP}:6443",
        "node_socket": node_socket,
        "pod_log_root": str(state.pod_logs),
        "durability": config.get("durability", "normal"),
        "load_balancers": _load_balancers(state),
        "gateway_api": True,
    }
    plane = {
        "kubeconfig": kubeconfigs["controlplane"],
        "controlz_port": 9876,
        "address": NODE_IP,
        "workload_cert_ttl_s": config.get("workload_cert_ttl_s", 86_400),
    }
    node = {
        "kubeconfig": kubeconfigs["node"],
        "zygote": zygote_socket,
        "socket": node_socket,
        "pods": str(state.run / "p"),
        "logs": str(state.pod_logs),
        "home": os.path.expanduser("~"),
        "dns_fds": dns_sockets,
        "names": str(names),
        "resolver_fd": config["resolver_fd"],
        "host_ports": {"8080": config["http_fd"], "8443": config["https_fd"]},
        "images": str(state.images),
        "publish_fd": config["publish_fd"],
        "load_balancers": _load_balancers(state),
        "bind_swap": config.get("bind_swap", True),
        "certificate_lifetime_s": config.get("certificate_lifetime_s", 0),
        "groups": config["groups"],
        "number": state.number,
        "allow_privileged": config.get("allow_privileged", False),
        "telemetry": config.get("telemetry", True),
    }
    installed = state.run / "installed"
    installed.unlink(missing_ok=True)  # of an earlier cluster
    telemetry = {
        "kubeconfig": kubeconfigs["telemetry"],
        "address": NODE_IP,
        "folder": str(state.root / "telemetry"),
        "pod_logs": str(state.pod_logs),
        "sockets": config.get("sockets", {}),
        **config.get("telemetry_settings", {}),
        "after": str(installed),
    }
    console = {
        "kubeconfig": kubeconfigs["console"],
        "address": NODE_IP,
        "prometheus": f"http://{NODE_IP}:9090",
        "tracing": f"http://{NODE_IP}:16686",
        "control_plane": f"http://{NODE_IP}:15014",
        "access_logs": f"http://{NODE_IP}:3100",
        "token_file": str(_console_token(state)),
        "links_file": str(state.console_links),
        "after": str(installed),
    }
    optional = [
        _Process("telemetry", "sailcloth.telemetry", telemetry, state),
        _Process("console", "sailcloth.console", console, state),
    ]
    from_launcher = [config[n] for n in ("resolver_fd", "http_fd", "https_fd", "publish_fd") if config[n] >= 0]
    inherited = (*from_launcher, *dns_sockets)
    return [
        _Process("apiserver", "sailcloth.local.apiserver", api, state, (config["api_fd"],)),
        _Process("controlplane", "sailcloth.controlplane", plane, state),
        _Process("node", "sailcloth.local.node", node, state, inherited),
        *(optional if config.get("telemetry", True) else []),
    ]


def _console_token(state: StateDir) -> Path:
    """The file with the token of the console's URL, which a cluster keeps."""
    path = state.console_token
    if not path.exists() or not path.stat().st_size:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(os.urandom(20).hex())
    return path


if __name__ == "__main__":
    main()
