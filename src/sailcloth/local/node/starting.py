"""What a pod and its containers are started with: network, files of name resolution, environment, command, mounts, ports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Iterator

from sailcloth.kube import ApiError
from sailcloth.kube.resources import CLAIMS, CONFIGMAPS, SECRETS
from sailcloth.local import capture, images, network, zygote
from sailcloth.local.images import reach

from . import environment, lastwords, rights, volumes
from .environment import Missing
from .hostports import Relay
from .podstate import Container, Object, PodState, stamp

log = logging.getLogger(__name__)

_DOMAIN = "cluster.local"
_BASE_ENV = {
    "PATH": images.PATH,
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_FETCHED = {r.plural: r for r in (CONFIGMAPS, SECRETS, CLAIMS)}
_ROOT_ENV = {"PATH": images.PATH}
_BESIDE = 57_000  # added to a port, where a socket of the host takes its place; beyond the ephemeral ports


class Unknown(Exception):
    """No local command stands for an image."""


async def fetch(pod: PodState, kind: str, name: str) -> Object | None:
    """A ConfigMap, Secret or claim of the pod's namespace, None if there is none. Raises OSError."""
    try:
        return await pod.node.client.get(_FETCHED[kind], name, pod.namespace)
    except ApiError as error:
        if error.status == 404:
            return None
        raise OSError(str(error)) from None


async def token(pod: PodState, audiences: list[str], seconds: int) -> str:
    """A token for the pod's service account. Raises Missing."""
    account = pod.spec.get("serviceAccountName") or "default"
    try:
        return await pod.node.client.create_token(account, pod.namespace, audiences, seconds, pod.object)
    except ApiError as error:
        raise Missing(f"token of service account {account}: {error.message}") from None


async def sandbox(pod: PodState) -> None:
    """The pod's network and its PID 1. Raises OSError."""
    hostname = pod.spec.get("hostname") or pod.name
    _write_etc(pod, hostname)
    fd = await asyncio.to_thread(network.add_pod, pod.ip)
    try:
        await asyncio.to_thread(zygote.make_pod, pod.node.zygote, str(pod.directory), hostname[:63], fd)
    finally:
        os.close(fd)


def _write_etc(pod: PodState, hostname: str) -> None:
    folder = pod.directory / "etc"
    folder.mkdir(mode=0o755, exist_ok=True)
    search = f"{pod.namespace}.svc.{_DOMAIN} svc.{_DOMAIN} {_DOMAIN}"
    aliases = "".join(f"{a['ip']} {' '.join(a.get('hostnames', ()))}\n" for a in pod.spec.get("hostAliases") or ())
    files = {
        "resolv.conf": f"search {search}\nnameserver {network.DNS_IP}\noptions ndots:5\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost\n{pod.ip} {hostname}\n{aliases}",
        "hostname": hostname + "\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)


async def builtin(pod: PodState, c: Container) -> bool:
    """Init containers of the mesh that need no process: traffic capture. Returns whether it was one."""
    args = [str(a) for a in c.spec.get("args") or ()]
    image = pod.node.images.resolve(str(c.spec.get("image", "")))
    if image is None or image.builtin != "proxy" or not args or args[0] != "istio-iptables":
        return False
    assert pod.link is not None
    if "--skip-rule-apply" not in args:
        given = {str(v["name"]): str(v.get("value", "")) for v in c.spec.get("env") or ()}
        wanted = capture.parse(args, given, (network.DNS_IP,))
        await asyncio.to_thread(network.apply_rules, pod.link.netns_fd, capture.rules(wanted))
    now = stamp()
    c.state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    c.done.set()
    pod.changed.set()
    return True


async def variables(pod: PodState, c: Container) -> dict[str, str]:
    """A container's environment. Raises Missing, OSError."""

    async def found(kind: str, name: str) -> Object | None:
        return await fetch(pod, kind, name)

    own = await environment.build(pod.object, c.spec, pod.ip, network.NODE_IP, found)
    image = pod.node.images.resolve(str(c.spec.get("image", "")))
    services = pod.node.service_env if pod.spec.get("enableServiceLinks", True) else {}
    base = _BASE_ENV
    if image is not None and not image.builtin:
        base = {**(_ROOT_ENV if image.root else _BASE_ENV), "HOME": rights.of(pod.object, c.spec, image).home}
        c.cwd = c.spec.get("workingDir") or image.cwd
        c.stop_signal = image.stop_signal
    return {**base, "HOSTNAME": pod.name, **services, **(image.env if image else {}), **own}


def _host_ports(pod: PodState) -> dict[int, int]:
    """The host's sockets for a pod's ports. A swapped socket is not in the pod's network, so the proxy binds ports of its own
    for them, and 8080 and 8443 are still the pod's."""
    labels = pod.object["metadata"].get("labels") or {}
    return pod.node.host_ports if labels.get("istio") == "ingressgateway" else {}


async def proxy(pod: PodState, c: Container) -> list[str]:
    """Have the node's agent serve a sidecar. Returns the command."""
    assert pod.link is not None
    env = await variables(pod, c)
    if pod.node.bind_swap and (ports := _host_ports(pod)):
        env["ISTIO_META_SAILCLOTH_BESIDE"] = ",".join(f"{p}:{p + _BESIDE}" for p in ports)
    made = await pod.node.agent.prepare(pod.object, c.spec, env, pod.directory, pod.link.netns_fd)
    c.env = {**env, **made.env}
    return made.argv


async def request(pod: PodState, c: Container) -> tuple[Object, list[int]]:
    """What the pod's PID 1 is asked to start, and descriptors. Raises Unknown, Missing, ValueError, OSError."""
    reference = str(c.spec.get("image", ""))
    image = pod.node.images.resolve(reference)
    if image is None:
        raise Unknown(
            f'no local command stands for image "{reference}": give it one with '
            f"`sailctl image add {reference} COMMAND`, or the image itself with `sailctl image add --root FILE {reference}`, "
            "or use one of `sailctl image list`"
        )
    caps: list[int] = []
    ports: dict[int, int] = {}
    mounts: list[list[str]] = []
    right = rights.Rights()
    if image.builtin == "proxy" and c.ephemeral:  # the agent serves one proxy of a pod
        raise ValueError("the mesh's own proxy cannot be added to a pod that runs")
    if image.builtin == "proxy":
        argv = await proxy(pod, c)
        needed = [os.path.dirname(argv[0]), str(pod.directory / "proxy")]
        caps = [12, 13]
        ports = _host_ports(pod)
    else:
        c.env = await variables(pod, c)
        command = [environment.expand(str(x), c.env) for x in c.spec.get("command") or ()]
        args = [environment.expand(str(x), c.env) for x in c.spec.get("args") or ()]
        argv = images.argv(image, command, args)
        mounts = [*volumes.mounts(c.spec, pod.folders, pod.object), lastwords.prepare(pod, c)]
        right = rights.of(pod.object, c.spec, image)
        caps = right.capabilities
        needed = reach.folders(image.entrypoint, image.paths, pod.node.hidden) if image.own and not image.root else []
    if not argv:
        raise ValueError("the container has no command")
    c.argv = argv
    if right.missing and c.restarts == 0:
        text = f"not available to pods of a local cluster, which run with your rights alone: {', '.join(right.missing)}"
        await pod.event("Warning", "NotEnforced", text, c.name)
    scratch = pod.directory / "scratch" / c.name
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    swapped = pod.node.bind_swap
    c.unswapped = () if swapped else tuple(ports)
    return {
        "op": "start",
        "name": c.name,
        "argv": argv,
        "env": c.env,
        "cwd": c.cwd,
        "uid": right.uid,
        "gid": right.gid,
        "caps": caps,
        "read_only": right.read_only,
        "root": image.root,
        "mounts": mounts,
        "hide": pod.node.hidden,
        "needed": needed,
        "etc": str(pod.directory / "etc"),
        "scratch": str(scratch),
        "log": lastwords.log_path(pod, c),
        "stdin": bool(c.spec.get("stdin")),
        "tty": bool(c.spec.get("tty")),
        "ports": [str(p + _BESIDE) for p in ports] if swapped else [],
    }, list(ports.values()) if swapped else []


@contextlib.contextmanager
def groups(pod: PodState, c: Container) -> Iterator[list[int]]:
    """Descriptors of the control groups that hold a container to its limits."""
    limits = (c.spec.get("resources") or {}).get("limits") or {}
    memory, cpu = (environment.quantity(str(limits.get(name) or "0")) for name in ("memory", "cpu"))
    fds: list[int] = []
    try:
        fds = pod.node.groups.make(pod.uid, run_of(c), int(memory), cpu)
    except OSError as error:
        log.warning("%s/%s: limits of container %s are not enforced: %s", pod.namespace, pod.name, c.name, error)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def run_of(c: Container) -> str:
    """What tells a container's present run from its earlier ones."""
    return f"{c.name}.{c.restarts}"


def relay_ports(pod: PodState, c: Container, ports: Iterable[int]) -> None:
    """Carry the host's ports to a container whose sockets could not be swapped for them."""
    sockets = {p % _BESIDE: fd for p in ports if (fd := pod.node.host_ports.get(p % _BESIDE)) is not None}
    if sockets:
        c.relay = Relay(pod.ip, sockets)
        pod.spawn(c.relay.start())
        pod.spawn(pod.event("Warning", "HostPortRelayed", "host ports are relayed: the kernel allows no swap", c.name))
