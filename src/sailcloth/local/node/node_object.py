"""The Node object of this machine, and its status."""

from __future__ import annotations

import datetime as dt
import os
import platform
from typing import Any

from sailcloth.local import network

Object = dict[str, Any]


def node(name: str) -> Object:
    """The object without its status."""
    machine = _machine()
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine,
        "node-role.kubernetes.io/control-plane": "",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": network.POD_CIDR},
    }


def status(name: str, known: Object) -> Object:
    """The status now; a condition that `known`, the previous status, has as well keeps the time of its last transition."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    since = {(c["type"], c["status"]): c.get("lastTransitionTime") for c in known.get("conditions") or ()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    size = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": "250", "ephemeral-storage": "10Gi"}

    def condition(kind: str, status: str, reason: str) -> Object:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": reason,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since.get((kind, status)) or now,
        }

    return {
        "capacity": size,
        "allocatable": size,
        "addresses": [{"type": "InternalIP", "address": network.NODE_IP}, {"type": "Hostname", "address": name}],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            condition("Ready", "True", "KubeletReady"),
        ],
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": "Linux",
            "containerRuntimeVersion": "sailcloth://0.1.0",
            "kubeletVersion": "v1.32.0+sailcloth",
            "kubeProxyVersion": "v1.32.0+sailcloth",
            "operatingSystem": "linux",
            "architecture": _machine(),
        },
    }


def _machine() -> str:
    """The processor's architecture, as Kubernetes names it."""
    return platform.machine().replace("x86_64", "amd64").replace("aarch64", "arm64")
