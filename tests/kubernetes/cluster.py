"""A real Kubernetes control plane: etcd, the API server, the controllers and the scheduler, with keys of their own.

By itself it runs on ports of loopback, which needs no root; with a node (`node.Node`) it runs in the node's network namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import binaries
from .pki import NODE, Pki
from .processes import Processes

LOOPBACK = "127.0.0.1"
SERVICES, PODS = "10.96.0.0/16", "10.244.0.0/16"
_ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

_COMPACT = """
import json, ssl, sys, urllib.request
url, authority, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.load_cert_chain(certificate, key)
def post(path, body):
    return json.load(urllib.request.urlopen(url + path, json.dumps(body).encode(), context=context))
revision = post("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
post("/v3/kv/compaction", {"revision": revision, "physical": True})
"""
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:istio-system"]}, {"level": "None"}],
}


@dataclass(frozen=True)
class Ports:
    """TCP ports that the processes listen on."""

    api: int
    etcd: int
    peers: int
    controllers: int
    scheduler: int

    @classmethod
    def free(cls) -> Ports:
        """Such as nothing listens on now."""
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(5)]
            for each in sockets:
                each.bind((LOOPBACK, 0))
            return cls(*(each.getsockname()[1] for each in sockets))


class ControlPlane:
    """`folder`: its data, keys and logs. `prefix`: a command that enters namespaces. `address`: where a node reaches it, else only
    processes of this machine do."""

    def __init__(self, folder: Path, ports: Ports, prefix: Sequence[str] = (), address: str = LOOPBACK) -> None:
        self.folder, self.ports, self.prefix, self.address = folder, ports, tuple(prefix), address
        self.pki = Pki(folder / "pki", f"https://{LOOPBACK}:{ports.api}", tuple({LOOPBACK, address}))
        self.kubeconfig = self.pki.kubeconfig("admin")
        self.processes = Processes(folder)

    def start(self) -> None:
        """Start all and return when the API server is ready and accounts of pods are made. Raises StartError."""
        self.pki.write()
        (self.folder / "audit-policy.json").write_text(json.dumps(_AUDIT))
        for name in _ORDER[:2]:
            self.start_process(name)
        self.processes.wait("ready API server", self.is_ready)
        for name in _ORDER[2:]:
            self.start_process(name)
        # Without it no pod is admitted.
        self.processes.wait("default service account", lambda: self._succeeds("get", "serviceaccount", "default"))

    def start_process(self, name: str) -> None:
        """Start one of them, as after `processes.stop`."""
        arguments = {
            "etcd": self._etcd,
            "kube-apiserver": self._api_server,
            "kube-controller-manager": self._controllers,
            "kube-scheduler": self._scheduler,
        }
        program = "etcd" if name == "etcd" else binaries.path(name)
        options = [f"--{option}={value}" for option, value in arguments[name]().items()]
        self.processes.start(name, [program, *options], self.prefix)

    def stop(self, grace_s: float = 10.0) -> None:
        self.processes.stop_all(grace_s)

    def run(
        self, *command: str | Path, input: str | None = None, check: bool = True, timeout_s: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the cluster's addresses are reachable, as its administrator."""
        done = subprocess.run(
            [*self.prefix, *map(str, command)],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done

    def kubectl(self, *arguments: str | Path, input: str | None = None, check: bool = True) -> str:
        """What kubectl prints; its standard error as well, where warnings of the server are."""
        done = self.run("kubectl", *arguments, input=input, check=check)
        return done.stdout + done.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object, or a List, as `kubectl get -o json` prints it."""
        return dict(json.loads(self.run("kubectl", "get", "-o", "json", *arguments).stdout))

    def is_ready(self) -> bool:
        """Whether the API server is."""
        return self.run("kubectl", "get", "--raw", "/readyz", check=False).stdout == "ok"

    def compact(self) -> None:
        """Let etcd forget all versions of objects but the present ones, so that nobody can go on watching from an older one."""
        files = (self.pki.certificate("ca"), self.pki.certificate("etcd"), self.pki.key("etcd"))
        self.run(sys.executable, "-c", _COMPACT, f"https://{LOOPBACK}:{self.ports.etcd}", *files)

    def requests_of_the_mesh(self) -> list[dict[str, Any]]:
        """The API server's record of requests by accounts of `istio-system`, without their bodies."""
        return [json.loads(line) for line in (self.folder / "audit.log").read_text().splitlines()]

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A new namespace for one test."""
        name = f"test-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        self.processes.wait(
            "account of a namespace", lambda: self._succeeds("get", "serviceaccount", "default", "-n", name)
        )
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def _succeeds(self, *arguments: str) -> bool:
        return self.run("kubectl", *arguments, check=False).returncode == 0

    # -- options --------------------------------------------------------------------------------

    def _etcd(self) -> dict[str, object]:
        clients, peers = (f"https://{LOOPBACK}:{port}" for port in (self.ports.etcd, self.ports.peers))
        tls = {
            "cert-file": self.pki.certificate("etcd"),
            "key-file": self.pki.key("etcd"),
            "trusted-ca-file": self.pki.certificate("ca"),
        }
        return {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "unsafe-no-fsync": "true",  # what it keeps lives as long as the test run
            **tls,
            **{f"peer-{option}": file for option, file in tls.items()},
            "client-cert-auth": "true",
            "peer-client-cert-auth": "true",
        }

    def _api_server(self) -> dict[str, object]:
        pki, alone = self.pki, self.address == LOOPBACK
        return {
            "etcd-servers": f"https://{LOOPBACK}:{self.ports.etcd}",
            "etcd-cafile": pki.certificate("ca"),
            "etcd-certfile": pki.certificate("etcd"),
            "etcd-keyfile": pki.key("etcd"),
            "bind-address": LOOPBACK if alone else "0.0.0.0",
            "advertise-address": self.address,
            "endpoint-reconciler-type": "none"
            if alone
            else "lease",  # the Service `kubernetes`, which may not lead to loopback
            "secure-port": self.ports.api,
            "tls-cert-file": pki.certificate("apiserver"),
            "tls-private-key-file": pki.key("apiserver"),
            "client-ca-file": pki.certificate("ca"),
            "service-account-key-file": pki.folder / "service-accounts.pub",
            "service-account-signing-key-file": pki.key("service-accounts"),
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-cluster-ip-range": SERVICES,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "allow-privileged": "true",
            "audit-policy-file": self.folder / "audit-policy.json",
            "audit-log-path": self.folder / "audit.log",
            "kubelet-client-certificate": pki.certificate("apiserver-kubelet"),
            "kubelet-client-key": pki.key("apiserver-kubelet"),
            "kubelet-certificate-authority": pki.certificate("ca"),
            "kubelet-preferred-address-types": "InternalIP",  # there is no DNS for the name of a node
            "requestheader-client-ca-file": pki.certificate("ca"),
            "requestheader-allowed-names": "front-proxy-client",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": pki.certificate("front-proxy"),
            "proxy-client-key-file": pki.key("front-proxy"),
        }

    def _controllers(self) -> dict[str, object]:
        return {
            **self._component("controller-manager", self.ports.controllers),
            "use-service-account-credentials": "true",
            "service-account-private-key-file": self.pki.key("service-accounts"),
            "root-ca-file": self.pki.certificate("ca"),
            "cluster-signing-cert-file": self.pki.certificate("ca"),
            "cluster-signing-key-file": self.pki.key("ca"),
            "allocate-node-cidrs": "true",
            "cluster-cidr": PODS,
        }

    def _scheduler(self) -> dict[str, object]:
        return self._component("scheduler", self.ports.scheduler)

    def _component(self, name: str, port: int) -> dict[str, object]:
        kubeconfig = self.pki.kubeconfig(name)
        files = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        own = {"bind-address": LOOPBACK, "secure-port": port, "leader-elect": "false"}
        return {**dict.fromkeys(files, kubeconfig), **own}


@contextlib.contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """One without a node, on loopback, as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="sk-", ignore_cleanup_errors=True) as folder:
        plane = ControlPlane(Path(folder), Ports.free())
        try:
            plane.start()
            yield plane
        finally:
            plane.stop(grace_s=0)


__all__ = ["LOOPBACK", "NODE", "PODS", "SERVICES", "ControlPlane", "Ports", "control_plane"]
