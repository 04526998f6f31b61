"""A real node: containerd, kubelet and kube-proxy, on which pods of any image run. Needs root.

It lives in namespaces of its own, of the network, of mounts and of processes. With the first process of the last one the kernel ends
all of them, and with them their mounts, devices, rules and containers; what is left are files in one folder and empty control groups.
What such a node would otherwise write for the whole machine (/run, /var/lib, /var/log, kernel parameters) it writes into its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from images import oci

from . import binaries
from .cluster import NODE, PODS, ControlPlane, Ports
from .processes import Processes

ADDRESS = "10.42.0.1"
DNS = "10.96.0.10"
PAUSE, WEB = "docker.io/sailcloth/pause:test", "docker.io/sailcloth/web:test"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_GET = """
import sys, urllib.request as r
request = r.Request(sys.argv[1], headers=dict(a.split(": ", 1) for a in sys.argv[2:]))
print(r.urlopen(request, timeout=5).read().decode(), end="")
"""
_CGROUPS = Path("/sys/fs/cgroup")
_GROUP = "sailcloth-kubernetes-"  # and the id of the test run
# kubelet insists on these, for all pods of a machine. It reads them from files of ours: the machine keeps its own.
_PARAMETERS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


class Node:
    """`folder`: all its files. `control_plane` runs in its network, at the address of the node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.group = f"{_GROUP}{os.getpid()}-{folder.name}"
        self.processes = Processes(folder)
        self.control_plane: ControlPlane
        self._first = 0  # process id of the first process in the namespaces

    def start(self) -> None:
        """Start everything, control plane included; returns when the node is Ready. Raises StartError."""
        self._enter_namespaces()
        self.control_plane = ControlPlane(
            self.folder / "control-plane", Ports(6443, 2379, 2380, 10257, 10259), self._prefix("--net"), ADDRESS
        )
        self.control_plane.folder.mkdir()
        self.control_plane.start()
        self._make_control_groups()
        self._write_settings()
        self._start("containerd", Path("/usr/bin/containerd"), "--config", self.folder / "containerd.toml")
        self.processes.wait("containerd", lambda: self._ctr("version", check=False) == 0)
        for name, program in ((PAUSE, "pause"), (WEB, "web")):
            self.import_program(name, binaries.build_program(program), program)
        self._start(
            "kubelet",
            binaries.path("kubelet"),
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={self.control_plane.pki.kubeconfig(NODE)}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet'}",
            f"--hostname-override={NODE}",
            f"--node-ip={ADDRESS}",
        )
        self._start("kube-proxy", binaries.path("kube-proxy"), f"--config={self.folder / 'kube-proxy.json'}")
        self._start_dns()
        self.processes.wait("Ready node", self._ready)

    def stop(self) -> None:
        """End all processes at once, those of containers too, and remove the control groups."""
        if hasattr(self, "control_plane"):
            self.control_plane.stop(grace_s=0)
        if self._first:  # the kernel ends with it all that is left inside, and those who wait for it outside end too
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._first, signal.SIGKILL)
            self.processes.join()
        self.processes.stop_all(grace_s=0)
        for top in _control_groups(self.group):
            self._remove_groups(top)

    def import_image(self, archive: Path) -> None:
        """Put an image of an OCI archive on the node, under the name that the archive gives it."""
        self._ctr("--namespace", "k8s.io", "images", "import", "--digests=false", str(archive))

    def import_program(self, name: str, binary: Path, program: str, user: str = "") -> None:
        """Put an image on the node that has nothing but a static program."""
        layer, archive = self.folder / f"{program}.layer", self.folder / f"{program}.tar"
        oci.layer(layer, [(program, binary)])
        oci.write(oci.Image(name, (layer,), (f"/{program}",), user), archive)
        self.import_image(archive)

    def answer(self, url: str, *headers: str) -> str:
        """The body of an answer to a request from the node, where pods and services have their addresses; empty without one."""
        return self.control_plane.run(sys.executable, "-c", _GET, url, *headers, check=False).stdout

    def wait_for_answer(self, url: str, expected: str, seconds: float = 30.0) -> None:
        """Return when a request to the URL has this answer."""
        self.processes.wait(f"answer of {url}", lambda: self.answer(url) == expected, seconds)

    # -- namespaces -----------------------------------------------------------------------------

    def _enter_namespaces(self) -> None:
        script = self.folder / "namespaces.sh"
        script.write_text(self._script())
        kinds = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=slave")
        first = binaries.build_program("pause")  # it collects ended processes, as the first one has to
        outer = self.processes.start("namespaces", ["unshare", *kinds, "/bin/sh", "-e", script, first])
        self.processes.wait("namespaces", (self.folder / "namespaces.ready").exists)
        self._first = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])

    def _script(self) -> str:
        """What the first process does: private folders, kernel parameters, and a device that has the node's address and the default
        route, without which addresses of services would be unreachable before any rule sees them."""
        lines = ["mount --make-rshared /", "mount -t tmpfs -o mode=755 tmpfs /run", "mkdir /run/netns"]
        for name in ("lib", "log"):
            upper, work = self.folder / "var" / name, self.folder / "var" / f"{name}.work"
            lines.append(f"mkdir -p '{upper}' '{work}'")
            lines.append(f"mount -t overlay -o 'lowerdir=/var/{name},upperdir={upper},workdir={work}' node /var/{name}")
        for path, value in _PARAMETERS.items():
            file = self.folder / "parameters" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
            lines.append(f"mount --bind '{file}' /proc/sys/{path}")
        lines += [
            "ip link set lo up",
            "ip link add node0 type veth peer name node1",
            f"ip addr add {ADDRESS}/24 dev node0",
            "ip link set node0 up",
            "ip link set node1 up",
            "ip route add default dev node0",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            f"touch '{self.folder / 'namespaces.ready'}'",
            'exec "$1"',
        ]
        return "\n".join([*lines, ""])

    def _prefix(self, *kinds: str) -> tuple[str, ...]:
        return ("nsenter", f"--target={self._first}", *kinds, "--")

    def _start(self, name: str, program: Path, *arguments: str | Path) -> None:
        inside = self._prefix("--net", "--mount", "--pid")
        self.processes.start(name, ["env", f"PATH={_PATH}", program, *arguments], inside)

    def _start_dns(self) -> None:
        """Serve names on the node, at the address that pods ask."""
        plane = self.control_plane
        ports = [{"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
        metadata = {"name": "kube-dns", "namespace": "kube-system"}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
        labels = {"kubernetes.io/service-name": "kube-dns"}
        endpoints = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
            "ports": ports,
        }
        items = [{**service, "spec": {"clusterIP": DNS, "ports": ports}}, endpoints]
        plane.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        command: list[str | Path] = [sys.executable, "-m", "tests.kubernetes.dns", plane.kubeconfig, ADDRESS]
        plane.processes.start("dns", command, plane.prefix)

    def _ctr(self, *arguments: str, check: bool = True) -> int:
        command = ("ctr", "--address", str(self.folder / "containerd.sock"), *arguments)
        return self.control_plane.run(*command, check=check).returncode

    def _ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        done = self.control_plane.run("kubectl", "get", "node", NODE, f"-o=jsonpath={path}", check=False)
        return done.stdout == "True"

    # -- control groups -------------------------------------------------------------------------

    def remove_stale_control_groups(self) -> None:
        """Remove those of test runs that were killed."""
        for left in _control_groups(f"{_GROUP}*"):
            if not Path("/proc", left.name.removeprefix(_GROUP).partition("-")[0]).exists():
                self._remove_groups(left)

    def _make_control_groups(self) -> None:
        self.remove_stale_control_groups()
        for hierarchy in _hierarchies():
            group = hierarchy / self.group
            group.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):  # in version 1 a new group has none, and takes no process
                if (group / file).exists() and not (group / file).read_text().strip():
                    (group / file).write_text((hierarchy / file).read_text())

    def _remove_groups(self, top: Path) -> None:
        """Remove a group and those in it."""

        def removed() -> bool:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):  # busy, until the kernel has buried the processes that were in it
                    Path(folder).rmdir()
            return not top.exists()

        self.processes.wait(f"end of the processes in {top}", removed, 10.0)

    # -- settings -------------------------------------------------------------------------------

    def _write_settings(self) -> None:
        folder = self.folder
        (folder / "cni").mkdir()
        (folder / "plugins").mkdir()
        for plugin in Path("/usr/lib/cni").iterdir():  # others may be added, and the machine keeps its own
            (folder / "plugins" / plugin.name).symlink_to(plugin)
        (folder / "manifests").mkdir()
        (folder / "resolv.conf").write_text(f"nameserver {DNS}\n")
        (folder / "containerd.toml").write_text(self._containerd())
        documents = {
            "cni/10-bridge.conflist": _network(),
            "kubelet.json": self._kubelet(),
            "kube-proxy.json": self._kube_proxy(),
        }
        for name, document in documents.items():
            (folder / name).write_text(json.dumps(document, indent=1))

    def _containerd(self) -> str:
        """Settings of containerd 1.6, which Debian 12 has, in the form that 1.7 reads as well."""
        return f"""\
version = 2
root = "{self.folder}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt",
]
[grpc]
  address = "{self.folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{self.folder}/plugins"
    conf_dir = "{self.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "/usr/sbin/runc"
      SystemdCgroup = false
"""

    def _kubelet(self) -> dict[str, object]:
        pki = self.control_plane.pki
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.certificate("ca"))},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki.certificate("kubelet")),
            "tlsPrivateKeyFile": str(pki.key("kubelet")),
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS],
            "resolvConf": str(self.folder / "resolv.conf"),
            "containerRuntimeEndpoint": f"unix://{self.folder}/containerd.sock",
            "staticPodPath": str(self.folder / "manifests"),
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.group}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,  # a lower one needs a capability that root of a container has not
            "makeIPTablesUtilChains": False,
            "localStorageCapacityIsolation": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},  # of the machine's disk others take care
        }

    def _kube_proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "bindAddress": ADDRESS,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "clientConnection": {"kubeconfig": str(self.control_plane.pki.kubeconfig("kube-proxy"))},
            "clusterCIDR": PODS,
            "mode": "nftables",
            "hostnameOverride": NODE,
            # Limits of the whole machine are not its to set.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "nodePortAddresses": [f"{ADDRESS}/32"],
        }


def _hierarchies() -> list[Path]:
    """Where control groups are: in one tree of version 2, or in one for each controller of version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [folder for folder in _CGROUPS.iterdir() if folder.is_dir() and not folder.is_symlink()]


def _control_groups(name: str) -> list[Path]:
    """The groups at the top of all hierarchies that have a name, which may be a pattern."""
    return [group for hierarchy in _hierarchies() for group in hierarchy.glob(name)]


def _network() -> dict[str, object]:
    """The CNI configuration: pods on one bridge."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/addresses",
        "ranges": [[{"subnet": "10.244.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


@contextlib.contextmanager
def node() -> Iterator[Node]:
    """A cluster of one node, as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="sk-", ignore_cleanup_errors=True) as folder:
        running = Node(Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop()
