"""The agent's command: Envoy's admin interface from inside a sidecar, as walk-throughs ask it."""

from __future__ import annotations

import subprocess
import sys

from sailcloth.agent import requests

from .programs import Start


def run(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", "-S", str(requests.__file__), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_request_prints_the_body_and_fails_as_the_answer_does(start: Start) -> None:
    port = start("httpbin.py").port
    done = run("request", "--debug-port", str(port), "GET", "base64/aGk=")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi", "")
    assert '"data": "x"' in run("request", f"--debug-port={port}", "post", "/anything", "x").stdout
    failed = run("request", f"--debug-port={port}", "GET", "status/404")
    assert (failed.returncode, failed.stderr) == (1, "pilot-agent: Envoy answered 404\n")


def test_what_it_does_not_know_is_told() -> None:
    done = run("istio-iptables")
    assert (done.returncode, done.stderr.split(":")[0]) == (2, "usage")
