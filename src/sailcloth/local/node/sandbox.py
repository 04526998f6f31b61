"""A pod's sandbox: its network namespace, its PID 1, and the files of name resolution that its containers share."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sailcloth.local import network, zygote

from .pod_state import PodState

_ADDRESS = "address"  # a file in the pod's directory, written when the network is connected
_DOMAIN = "cluster.local"


async def create(pod: PodState) -> None:
    """Create the pod's network namespace and start its PID 1. Raises OSError."""
    hostname = pod.spec.get("hostname") or pod.name
    made = pod.directory / _ADDRESS
    made.unlink(missing_ok=True)
    _write_etc(pod, hostname)
    _, fd = await asyncio.to_thread(zygote.make_pod, pod.node.zygote, str(pod.directory), hostname[:63])
    try:
        await asyncio.to_thread(network.connect_pod, fd, pod.ip, pod.node.load_balancers)
    finally:
        os.close(fd)
    made.write_text(pod.ip)


def address(directory: Path) -> str:
    """The address of the sandbox in a pod's directory; empty if it is not complete, as when the node's process died while it was
    created."""
    try:
        return (directory / _ADDRESS).read_text()
    except OSError:
        return ""


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
