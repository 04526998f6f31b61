"""What the injector has written into a pod: whether its traffic is captured on the node, and how; and the rules in its network namespace.

The arguments are those of the container istio-validation, which are the init container's: made of the pod's annotations and of the
mesh's values, so that both ways of capture give the same rules.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sailcloth.agent import capture, netns
from sailcloth.lib.nftables import Nftables

Object = dict[str, Any]
STATUS, INJECT = "sidecar.istio.io/status", "sidecar.istio.io/inject"
FAILED = 126  # exit code of a validation that found no capture


def wanted(pod: Object, container: str) -> capture.Capture | None:
    """How to capture the pod's traffic; None if it is not to be. `container`: the name of the one that validates. Raises ValueError."""
    annotations = pod["metadata"].get("annotations") or {}
    spec = pod["spec"]
    if spec.get("hostNetwork") or STATUS not in annotations or annotations.get(INJECT) == "false":
        return None
    for each in spec.get("initContainers") or ():
        if each["name"] == container:
            environment = {e["name"]: e.get("value", "") for e in each.get("env") or ()}
            return capture.parse(each.get("args") or [], environment, by_user=True)
    return None


def is_broken(pod: Object, container: str) -> bool:
    """Whether the pod's validation has found that nothing captures its traffic, and has not succeeded since."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
        if status["name"] == container:
            now = (status.get("state") or {}).get("terminated")
            last = now or (status.get("lastState") or {}).get("terminated") or {}
            return last.get("exitCode") == FAILED
    return False


def apply(namespace: Path, rules: capture.Capture) -> None:
    """Put the rules in force in a network namespace, at once. Raises OSError."""

    def commit() -> None:
        table = Nftables()
        try:
            table.commit(capture.rules(rules))
        finally:
            table.close()

    _inside(namespace, commit)


def find(folder: Path, address: str) -> Path | None:
    """The network namespace in the folder that has the address; None if there is none."""

    def has() -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
        return True

    for path in sorted(folder.iterdir()):
        try:
            if _inside(path, has):
                return path
        except OSError:  # it ends, or is no namespace
            continue
    return None


def _inside(path: Path, work: Callable[[], netns.T]) -> netns.T:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netns.run_in(opened, work)
    finally:
        os.close(opened)
