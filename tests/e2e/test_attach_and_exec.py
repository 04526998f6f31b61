"""kubectl's interactive commands on real pods: exec by the older protocol, attach, and `run -i`."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess

import pytest

from .bookinfo import KUBECTL, Cluster
from .terminals import shows

SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"}
WEBSOCKET = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true"}


def run(mesh: Cluster, *arguments: str, protocol: dict[str, str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    assert KUBECTL
    return subprocess.run(
        [KUBECTL, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env={**mesh.environment, **protocol},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("protocol", [SPDY, WEBSOCKET], ids=["SPDY", "websocket"])
def test_exec_gives_output_errors_and_exit_code(cluster: Cluster, protocol: dict[str, str]) -> None:
    script = "echo out; echo err >&2; cat; exit 3"
    done = run(cluster, "exec", "-i", "deploy/ratings-v1", "--", "sh", "-c", script, protocol=protocol, stdin="in\n")
    assert (done.returncode, done.stdout) == (3, "out\nin\n")
    assert "err" in done.stderr.splitlines()


@pytest.mark.parametrize("protocol", [SPDY, WEBSOCKET], ids=["SPDY", "websocket"])
def test_run_attaches_to_what_it_starts(cluster: Cluster, protocol: dict[str, str]) -> None:
    name = "probe-" + ("spdy" if protocol is SPDY else "ws")
    command = ("run", name, "-i", "--rm", "--image=curlimages/curl", "--restart=Never", "--command", "--")
    script = "read line; echo got $line; exit 0"
    done = run(cluster, *command, "sh", "-c", script, protocol=protocol, stdin="hello\n")
    assert done.returncode == 0, done.stderr
    assert "got hello" in done.stdout
    assert "deleted" in done.stdout + done.stderr


def test_a_terminal_has_its_size_and_its_end(cluster: Cluster) -> None:
    """As at a keyboard: kubectl itself runs in a terminal of 33 rows and 77 columns."""
    assert KUBECTL
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(cluster.environment)
        command = ["run", "shell", "-it", "--rm", "--image=curlimages/curl", "--restart=Never", "--command", "--", "sh"]
        os.execv(KUBECTL, [KUBECTL, *command])
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        os.kill(pid, signal.SIGWINCH)
        shows(fd, "pressing enter")  # the prompt was written before kubectl attached
        os.write(fd, b"\n")
        shows(fd, r"[$#] $")
        os.write(fd, b"stty size; echo over$((40+2))\n")
        said = shows(fd, r"over42\r?\n")
        assert re.search(r"33 77", said), said
        os.write(fd, b"exit\n")
        assert "deleted" in shows(fd, r"deleted")
    finally:
        os.close(fd)
        os.waitpid(pid, 0)


def test_attach_shows_what_a_container_writes_from_now_on(cluster: Cluster) -> None:
    script = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.1; done"
    cluster.kubectl(
        "run", "ticker", "--image=curlimages/curl", "--restart=Never", "--command", "--", "sh", "-c", script
    )
    try:
        cluster.kubectl("wait", "--for=condition=Ready", "pod/ticker", "--timeout=30s")
        assert KUBECTL
        command = [KUBECTL, "attach", "ticker", "-c", "ticker"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cluster.environment) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            process.terminate()
        assert all(re.fullmatch(r"tick \d+\n", line) for line in lines), lines
        log = cluster.kubectl("logs", "ticker", "-c", "ticker")
        assert set(lines) <= set(log.splitlines(keepends=True))
    finally:
        cluster.kubectl("delete", "pod", "ticker", "--grace-period=1", "--ignore-not-found")
