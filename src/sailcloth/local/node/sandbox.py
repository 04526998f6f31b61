"""A pod's sandbox: its network namespace, its PID 1, and the files of name resolution that its containers share."""

from __future__ import annotations

import asyncio
import os

from sailcloth.local import network, zygote

from .pod_state import PodState

_DOMAIN = "cluster.local"


async def create(pod: PodState) -> None:
    """Create the pod's network namespace and start its PID 1. Raises OSError."""
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
