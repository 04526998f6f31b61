"""A long script of stock kubectl commands, run in order against one cluster: `kubectl_script.yaml` says what each must do.

`SAILCLOTH_KUBECTL` names another kubectl binary than the one on the path, to try the script with other versions.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from .bookinfo import KUBECTL, Cluster, new_state

SCRIPT: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "kubectl_script.yaml").read_text())
PROGRAM = os.environ.get("SAILCLOTH_KUBECTL") or KUBECTL
DEADLINE_S = 20.0
KEYS = frozenset(
    ("kubectl", "since", "stdin", "environment", "exit", "is", "shows", "hides", "then", "wrote", "after", "meanwhile", "until", "fetch")
)  # fmt: skip


@dataclass
class Step:
    """One command of the script and what must come of it. The keys are explained at the top of the script."""

    given: dict[str, Any]
    words: list[str] = field(init=False)

    def __post_init__(self) -> None:
        assert self.given.keys() <= KEYS, f"unknown: {self.given.keys() - KEYS} in {self.given}"
        self.words = shlex.split(self.given["kubectl"])

    def patterns(self, key: str) -> list[str]:
        found = self.given.get(key, [])
        return [str(found)] if isinstance(found, str | int | float) else [str(f) for f in found]


@dataclass
class Terminal:
    """kubectl in one directory with files, for one namespace."""

    where: Path
    kubeconfig: Path

    def start(self, words: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        assert PROGRAM
        own = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.where), "NO_COLOR": "1", "GOGC": "off"}
        return subprocess.Popen(
            [PROGRAM, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.where,
            env={**os.environ, **own, **(environment or {})},
        )

    def run(self, words: list[str], stdin: str = "", environment: dict[str, str] | None = None) -> tuple[int, str, str]:
        process = self.start(words, environment)
        try:
            out, err = process.communicate(stdin.encode(), timeout=DEADLINE_S + 15)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += b"\nit did not end by itself"
        return process.returncode, out.decode(), err.decode()

    def check(self, step: Step) -> str:
        """What is wrong with what the command did; empty if nothing."""
        given = step.given
        if "until" in given or "fetch" in given:
            wrong = self._watch(step)
        else:
            code, out, err = self.run(step.words, given.get("stdin", ""), given.get("environment"))
            said = f"{out}{err}"
            wrong = "" if code == given.get("exit", 0) else f"exit code {code}"
            if "is" in given and out.strip() != str(given["is"]).strip():
                wrong += f" was to answer {given['is']!r}"
            wrong += _patterns(step, said)
            wrong = f"{wrong}\n{said}" if wrong else ""
        for command, expected in given.get("then", {}).items():
            wrong += self._eventually(command, str(expected).strip())
        for name, text in given.get("wrote", {}).items():
            path = self.where / name
            if not path.exists() or path.read_text().strip() != str(text).strip():
                wrong += f"\n{name} was to hold {text!r}"
        return wrong

    def _eventually(self, command: str, expected: str) -> str:
        end = time.monotonic() + DEADLINE_S
        while True:
            _, out, err = self.run(shlex.split(command))
            if out.strip() == expected:
                return ""
            if time.monotonic() > end:
                return f"\nthen `kubectl {command}` answers {out.strip() or err.strip()!r}, not {expected!r}"
            time.sleep(0.05)

    def _watch(self, step: Step) -> str:
        """A command that does not end by itself: it runs until it has shown what it must, and is then told to end."""
        given = step.given
        process = self.start(step.words, given.get("environment"))
        if "stdin" in given and process.stdin:
            process.stdin.write(given["stdin"].encode())
            process.stdin.flush()
        said, end = "", time.monotonic() + DEADLINE_S
        assert process.stdout
        assert process.stderr
        pipes = [process.stdout, process.stderr]
        after, meanwhile = given.get("after", ""), list(given.get("meanwhile", ()))
        if not after:
            self._meanwhile(meanwhile)
        until, wrong = given.get("until", r"Forwarding from 127\.0\.0\.1:(\d+)"), ""
        try:
            while not re.search(until, said, re.M):
                if after and re.search(after, said, re.M):
                    self._meanwhile(meanwhile)
                    after = ""
                ready = select.select(pipes, [], [], max(0.0, end - time.monotonic()))[0]
                if not ready or not pipes:
                    return f"does not show {until!r}\n{said}"
                for pipe in ready:
                    data = os.read(pipe.fileno(), 1 << 16)
                    said += data.decode(errors="replace")
                    if not data:
                        pipes.remove(pipe)
            if "fetch" in given:
                found = re.search(until, said, re.M)
                assert found
                with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}{given['fetch']}", timeout=10) as answer:
                    said += answer.read().decode()
            wrong = _patterns(step, said)
            return f"{wrong}\n{said}" if wrong else ""
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def situation(self) -> str:
        """What to know of a failure: the pods, and the ends of all logs of the cluster."""
        columns = "NAME:.metadata.name,PHASE:.status.phase,RESTARTS:.status.containerStatuses[*].restartCount"
        pods = self.run(
            ["get", "pods", "-A", "-o", f"custom-columns={columns},STATE:.status.containerStatuses[*].state"]
        )[1]
        logs = sorted((self.kubeconfig.parent / "logs").rglob("*.log"))
        return pods + "".join(f"== {p}\n{p.read_text(errors='replace')[-1500:]}" for p in logs)

    def _meanwhile(self, commands: list[str]) -> None:
        for command in commands:
            code, out, err = self.run(shlex.split(command))
            assert code == 0, f"kubectl {command}: {out}{err}"


def _patterns(step: Step, said: str) -> str:
    missing = [p for p in step.patterns("shows") if not re.search(p, said, re.M)]
    present = [p for p in step.patterns("hides") if re.search(p, said, re.M)]
    return "".join([*(f" does not show {p!r}" for p in missing), *(f" shows {p!r}" for p in present)])


def _steps() -> list[Step]:
    return [Step(s) for part in SCRIPT["parts"] for s in part["steps"]]


def test_the_script_is_long_enough() -> None:
    assert len(_steps()) >= 120


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    if PROGRAM is None:
        pytest.skip("kubectl is not installed")
    where = tmp_path_factory.mktemp("script")
    for name, text in SCRIPT["files"].items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(text)
    with new_state() as state:
        Cluster(state).sailctl("up", "--detach")
        yield Terminal(where, state / "kubeconfig")


def _minor(terminal: Terminal) -> int:
    _, out, _ = terminal.run(["version", "--client", "-o", "json"])
    return int(re.match(r"\d+", json.loads(out)["clientVersion"]["minor"])[0])  # type: ignore[index]


@pytest.mark.timeout(240)
def test_every_command_does_what_it_must(terminal: Terminal) -> None:
    minor, wrong, slow = _minor(terminal), [], []
    for part in SCRIPT["parts"]:
        for given in part["steps"]:
            step = Step(given)
            if minor < step.given.get("since", 0):
                continue
            begin = time.monotonic()
            try:
                found = terminal.check(step)
            except subprocess.TimeoutExpired:
                found = "does not end"
            slow.append((round(time.monotonic() - begin, 2), given["kubectl"]))
            if found:
                wrong.append(f"[{part['part']}] kubectl {given['kubectl']}: {found.strip()}")
    print("slowest:", *sorted(slow, reverse=True)[:12], sep="\n  ")
    assert not wrong, f"{len(wrong)} of {len(slow)} commands are wrong:\n\n" + "\n\n".join(wrong)
