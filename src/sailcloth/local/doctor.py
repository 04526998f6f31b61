"""Can this account run a local cluster? Found out by trying, and explained with the remedy."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from sailcloth.lib import namespaces as ns

from . import cgroups


def probe() -> dict[str, Any] | None:
    """Try everything a cluster needs in a child process. None if all works, else {stage, errno, text}."""
    read, write = os.pipe()
    uid, gid = os.geteuid(), os.getegid()
    pid = os.fork()
    if pid == 0:
        stage = "unshare"
        try:
            if uid:
                ns.unshare(ns.NEWUSER)
                stage = "uid_map"
                for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                    Path(f"/proc/self/{name}").write_text(text)
            stage = "unshare network"
            ns.unshare(ns.NEWNET | ns.NEWNS)
            stage = "network"
            from sailcloth.lib.rtnetlink import RouteSocket

            with RouteSocket() as route:
                route.up(1)
            stage = "nftables"
            from sailcloth.lib import nftables as n

            batch = n.Batch().table("t").chain("t", "c", "output").rule("t", "c", n.tcp(), n.redirect(1))
            n.Nftables().commit(batch)
            stage = "mount"
            ns.mount("none", "/", None, ns.MS_REC | ns.MS_PRIVATE)
            os.write(write, b"null")
        except OSError as error:
            os.write(write, json.dumps({"stage": stage, "errno": error.errno, "text": str(error)}).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        raw = file.read()
    os.waitpid(pid, 0)
    data: dict[str, Any] | None = json.loads(raw or b'{"stage": "start", "errno": 0, "text": "the probe died"}')
    return data


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def explain(stage: str, number: int, text: str) -> str:
    """What is wrong, and the remedy."""
    head = f"this machine does not allow a local cluster: {stage}: {text}. "
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" and number in (errno.EPERM, errno.EACCES):
        return head + (
            "Ubuntu's AppArmor restricts user namespaces. Run as root (`sudo sailctl up`), or allow them: "
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return head + "User namespaces are off: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if number == errno.ENOSPC or _read("/proc/sys/user/max_user_namespaces") == "0":
        return head + "The number of user namespaces is limited to none: sudo sysctl -w user.max_user_namespaces=28633"
    if number == errno.EUSERS:
        return head + "User namespaces are nested too deeply (32)."
    seccomp = next(
        (line.split()[1] for line in _read("/proc/self/status").splitlines() if line.startswith("Seccomp:")), "0"
    )
    if seccomp == "2" or Path("/.dockerenv").exists():
        return head + (
            "A container's filter blocks it: start the container with --security-opt seccomp=unconfined "
            "--security-opt systempaths=unconfined --cap-add SYS_ADMIN, or run outside."
        )
    if stage == "nftables":
        return (
            head
            + "The kernel lacks nf_tables, or its modules may not be loaded: sudo modprobe nf_tables nft_redir nft_nat"
        )
    return head + "See `sailctl doctor`, and the kernel's log (AppArmor, SELinux, chroot)."


def report() -> list[tuple[str, bool, str]]:
    """(check, whether it is fine, detail) for `sailctl doctor`."""
    out: list[tuple[str, bool, str]] = []
    release = os.uname().release
    parts = release.split(".")
    kernel = (int(parts[0]), int(parts[1]))
    out.append(("kernel", kernel >= (5, 17), f"{release} (5.17 or newer is needed for marks without full rights)"))
    failed = probe()
    out.append(("namespaces and nftables", failed is None, "usable" if failed is None else explain(**_named(failed))))
    try:
        from sailcloth.agent.node_agent import envoy_path

        out.append(("Envoy", True, envoy_path()))
    except (ImportError, FileNotFoundError) as error:
        out.append(("Envoy", False, str(error)))
    kubectl = shutil.which("kubectl")
    out.append(("kubectl", True, kubectl or "not on PATH; the demo works without, but you will want it"))
    if "microsoft" in release.lower():
        out.append(("WSL", True, "WSL2: ports on 127.0.0.1 are reachable from Windows"))
    swap = os.uname().machine in ("x86_64", "aarch64") and kernel >= (5, 9)
    out.append(("host ports", True, "by bind swap" if swap else "by relay (slower): unknown processor or old kernel"))
    first = int(_read("/proc/sys/net/ipv4/ip_unprivileged_port_start") or 1024)
    if os.geteuid() and first > 80:
        text = f"from {first} up; sudo sysctl net.ipv4.ip_unprivileged_port_start=80 opens 80 and 443 at services' own addresses"
        out.append(("ports", True, text))
    held = cgroups.usable()
    text = f"enforced: {', '.join(held)}" if held else ""
    if set(held) != set(cgroups.CONTROLLERS):
        start = "systemd-run --user --scope -p Delegate=yes sailctl up"
        text += f"{'; ' if text else ''}recorded, not enforced without delegated control groups ({start})"
    out.append(("limits of containers", True, text))
    return out


def _named(failed: dict[str, Any]) -> dict[str, Any]:
    return {"stage": failed["stage"], "number": failed["errno"], "text": failed["text"]}
