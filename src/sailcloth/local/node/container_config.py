"""Builds the request that starts a container: image, command, environment, mounts, security context and ports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator

import sailcloth_samples
from sailcloth.agent import capture
from sailcloth.agent.mounted_files import MountedFiles
from sailcloth.agent.protocol import PodFiles, ProxyProcess
from sailcloth.kube import ApiError
from sailcloth.kube.resources import CLAIMS, CONFIGMAPS, SECRETS, SERVICEACCOUNTS
from sailcloth.lib import namespaces as ns
from sailcloth.local import images, network, pod_users
from sailcloth.local.images import Image, host_paths

from . import environment, security_context, service_account, termination_message, volumes
from .environment import Missing
from .host_ports import Relay
from .pod_state import Container, Object, PodState, timestamp

log = logging.getLogger(__name__)

_BASE_ENV = {
    "PATH": images.PATH,
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_RESOURCES = {r.plural: r for r in (CONFIGMAPS, SECRETS, CLAIMS, SERVICEACCOUNTS)}
_ROOT_ENV = {"PATH": images.PATH}
_HELD_PORTS = (15001, 15006, 15021)  # on which every sidecar listens as long as it runs: outbound, inbound, health
_PROXY_PORT_OFFSET = 57_000  # added to a published port for the proxy's own listener, beyond the ephemeral ports


class ImageNotFound(Exception):
    """An image is neither built in nor added by the user."""


async def fetch(pod: PodState, kind: str, name: str) -> Object | None:
    """A ConfigMap, Secret, claim or service account of the pod's namespace, None if there is none. Raises OSError."""
    try:
        return await pod.node.client.get(_RESOURCES[kind], name, pod.namespace)
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


async def run_builtin(pod: PodState, c: Container) -> bool:
    """Apply the rules of an `istio-iptables` init container, which needs no process here. Returns whether it is one."""
    args = [str(a) for a in c.spec.get("args") or ()]
    image = pod.node.images.resolve(str(c.spec.get("image", "")))
    if image is None or image.builtin != "proxy" or not args or args[0] != "istio-iptables":
        return False
    assert pod.sandbox is not None
    if "--skip-rule-apply" not in args:
        given = {str(v["name"]): str(v.get("value", "")) for v in c.spec.get("env") or ()}
        wanted = capture.parse(args, given, (network.DNS_IP,))
        await asyncio.to_thread(network.apply_rules, pod.sandbox.netns_fd, capture.rules(wanted))
    now = timestamp()
    c.state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    c.completed.set()
    pod.changed.set()
    return True


async def environment_variables(pod: PodState, c: Container) -> dict[str, str]:
    """A container's environment. Raises Missing, OSError."""

    async def result(kind: str, name: str) -> Object | None:
        return await fetch(pod, kind, name)

    own = await environment.build(pod.object, c.spec, pod.ip, network.NODE_IP, result)
    image = pod.node.images.resolve(str(c.spec.get("image", "")))
    services = pod.node.service_env if pod.spec.get("enableServiceLinks", True) else {}
    base = _BASE_ENV
    if image is not None and not image.builtin:
        base = {
            **(_ROOT_ENV if image.root else _BASE_ENV),
            "HOME": security_context.resolve(pod.object, c.spec, image, pod.node).home,
        }
        c.cwd = c.spec.get("workingDir") or image.cwd
        c.stop_signal = image.stop_signal
    return {**base, "HOSTNAME": pod.name, **services, **(image.env if image else {}), **own}


def _host_ports(pod: PodState) -> dict[int, int]:
    """Sockets of the host by port of the pod, for the ingress gateway.

    Such a socket is not in the pod's network, so the proxy binds another port for it, and 8080 and 8443 remain usable.
    """
    labels = pod.object["metadata"].get("labels") or {}
    return pod.node.host_ports if labels.get("istio") == "ingressgateway" else {}


async def proxy_command(pod: PodState, c: Container) -> ProxyProcess:
    """Let the agent prepare a proxy."""
    assert pod.sandbox is not None
    env = await environment_variables(pod, c)
    if pod.node.bind_swap and (ports := _host_ports(pod)):
        env["ISTIO_META_SAILCLOTH_BESIDE"] = ",".join(f"{p}:{p + _PROXY_PORT_OFFSET}" for p in ports)
    files = PodFiles(
        home=pod.directory / "proxy",
        resolv_conf=pod.directory / "etc" / "resolv.conf",
        mounted=MountedFiles.from_container(pod.object, c.spec, pod.directory),
    )
    created = await pod.node.agent.prepare(pod.object, c.spec, env, files, pod.sandbox.sockets)
    for path in (files.home, *files.home.iterdir()):
        pod.node.give(str(path), pod_users.PROXY)
    c.env = {**env, **created.env}
    return created


async def start_request(pod: PodState, c: Container) -> tuple[Object, list[int]]:
    """The request to the pod's PID 1, and its descriptors. Raises ImageNotFound, Missing, ValueError, OSError."""
    reference = str(c.spec.get("image", ""))
    image = pod.node.images.resolve(reference)
    if image is None:
        raise ImageNotFound(
            f'image "{reference}" is not available: add a command for it with `sailctl image add {reference} COMMAND`, '
            f"or its root file system with `sailctl image add --root FILE {reference}`, or use one of `sailctl image list`"
        )
    ports: dict[int, int] = {}
    mounts: list[list[str]] = []
    security = security_context.SecurityContext()
    if image.builtin == "proxy" and c.ephemeral:  # the agent serves one proxy per pod
        raise ValueError("istio-proxy cannot be an ephemeral container")
    workers = 0
    if image.builtin == "proxy":
        proxy = await proxy_command(pod, c)
        argv, workers = proxy.argv, proxy.workers
        needed = [os.path.dirname(argv[0]), str(pod.directory / "proxy")]
        security.capabilities = [ns.CAP_NET_ADMIN, ns.CAP_NET_RAW]
        security.uid = security.gid = pod.node.proxy_user
        ports = _host_ports(pod)
        wanted = [m for m in c.spec.get("volumeMounts") or () if m["mountPath"] in proxy.mounts]
        mounts = volumes.mounts({"volumeMounts": wanted}, pod.volumes, pod.object_with_token, c.env)
    else:
        c.env = await environment_variables(pod, c)
        command = [environment.expand(str(x), c.env) for x in c.spec.get("command") or ()]
        args = [environment.expand(str(x), c.env) for x in c.spec.get("args") or ()]
        argv = images.argv(image, command, args)
        spec = service_account.add_mount(c.spec) if pod.has_token else c.spec
        mounts = [
            *volumes.mounts(spec, pod.volumes, pod.object_with_token, c.env),
            termination_message.create_file(pod, c),
        ]
        security = security_context.resolve(pod.object, c.spec, image, pod.node)
        needed = _needed(pod, image)
    if not argv:
        raise ValueError("the container has no command")
    c.argv = argv
    if security.unsupported and c.restarts == 0:
        text = f"not available to pods of a local cluster: {', '.join(security.unsupported)}"
        await pod.event("Warning", "NotEnforced", text, c.name)
    scratch = pod.directory / "scratch" / c.name
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    swapped = pod.node.bind_swap
    c.relayed_ports = () if swapped else tuple(ports)
    return {
        "op": "start",
        "name": c.name,
        "argv": argv,
        "env": c.env,
        "cwd": c.cwd,
        "uid": security.uid,
        "gid": security.gid,
        "groups": security.groups,
        "caps": security.capabilities,
        "proxy": image.builtin == "proxy",
        "privileged": security.privileged,
        "unconfined": security.unconfined,
        "read_only": security.read_only,
        "root": image.root,
        "mounts": mounts,
        "hide": pod.node.masked_paths,
        "needed": needed,
        "etc": str(pod.directory / "etc"),
        "scratch": str(scratch),
        "log": pod.log_path(c),
        "stdin": bool(c.spec.get("stdin")),
        "tty": bool(c.spec.get("tty")),
        "ports": [str(p + _PROXY_PORT_OFFSET) for p in ports] if swapped else [],
        "held": {"ports": _HELD_PORTS, "count": workers} if workers and not ports and swapped else {},
    }, list(ports.values()) if swapped else []


def _needed(pod: PodState, image: Image) -> list[str]:
    """What an image's programs need besides the host's system folders. They see it read-only."""
    if image.root:
        return []
    if image.user_defined:
        return host_paths.required(image.entrypoint, image.paths, pod.node.masked_paths)
    return [sys.prefix, sys.base_prefix, str(sailcloth_samples.ROOT), *image.paths]


@contextlib.contextmanager
def cgroups(pod: PodState, c: Container) -> Iterator[list[int]]:
    """Descriptors of the control groups that enforce a container's limits."""
    limits = (c.spec.get("resources") or {}).get("limits") or {}
    memory, cpu = (environment.quantity(str(limits.get(name) or "0")) for name in ("memory", "cpu"))
    fds: list[int] = []
    try:
        fds = pod.node.groups.make(pod.uid, cgroup_name(c), int(memory), cpu)
    except OSError as error:
        log.warning("%s/%s: limits of container %s are not enforced: %s", pod.namespace, pod.name, c.name, error)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def cgroup_name(c: Container) -> str:
    """Name of the control group of a container's current run."""
    return f"{c.name}.{c.restarts}"


def relay_ports(pod: PodState, c: Container, ports: Iterable[int]) -> None:
    """Relay host ports to a container whose sockets could not be replaced."""
    sockets = {
        p % _PROXY_PORT_OFFSET: fd for p in ports if (fd := pod.node.host_ports.get(p % _PROXY_PORT_OFFSET)) is not None
    }
    if sockets:
        c.relay = Relay(pod.ip, sockets)
        pod.spawn(c.relay.start())
        pod.spawn(
            pod.event("Warning", "HostPortRelayed", "host ports are relayed: the kernel cannot replace sockets", c.name)
        )
