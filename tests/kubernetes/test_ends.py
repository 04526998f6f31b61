"""What is left of a cluster when it ends, however that is: nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import binaries
from .node import Node
from .processes import StartError


def traces(folder: Path) -> list[str]:
    """Processes and mounts of a cluster in the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
    found += Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in found if str(folder) in line]


def groups(process: int) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/sailcloth-kubernetes-{process}-*"))


def test_a_failed_start_leaves_nothing(kubernetes: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubernetes` is another cluster on this machine, and goes on."""
    found = binaries.path
    monkeypatch.setattr(binaries, "path", lambda name: Path("/bin/false") if name == "kubelet" else found(name))
    failing = Node(tmp_path)
    failing.group += "-failing"  # both are of this test run
    try:
        with pytest.raises(StartError, match="kubelet has ended"):
            failing.start()
        assert traces(tmp_path) != []
    finally:
        failing.stop()
    assert traces(tmp_path) == []
    assert groups(os.getpid()) != []
    assert list(Path("/sys/fs/cgroup").glob("**/*-failing")) == []
    assert kubernetes.control_plane.kubectl("get", "--raw", "/readyz") == "ok"


def test_nothing_outlives_a_killed_run(kubernetes: Node, tmp_path: Path) -> None:
    """Files and empty control groups do; the next cluster removes those."""
    code = "import pathlib, sys, time; from tests.kubernetes.node import Node; Node(pathlib.Path(sys.argv[1])).start(); print(1, flush=True); time.sleep(60)"
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, process_group=0)
    assert run.stdout is not None
    assert run.stdout.read(1) == b"1"
    run.stdout.close()
    run.send_signal(signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 10
    while left := traces(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    kubernetes.remove_stale_control_groups()
    assert groups(run.pid) == []
    assert groups(os.getpid()) != []
