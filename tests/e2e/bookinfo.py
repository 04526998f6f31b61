"""A running cluster as its user has it: `sailctl`, stock kubectl, and a browser's requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..state_directories import state_directory

KUBECTL = shutil.which("kubectl")
NETWORKING = Path(__file__).parents[2] / "samples" / "bookinfo" / "networking"
_PAUSE_S = 0.002  # between the requests of one connection of a load, which would take a whole processor otherwise
RULES = "virtualservices,destinationrules,serviceentries,sidecars"
Object = dict[str, Any]


@contextlib.contextmanager
def new_state() -> Iterator[Path]:
    """A state directory; the cluster in it is stopped at the end."""
    directory = state_directory()
    try:
        yield directory
    finally:
        Cluster(directory).stop()
        shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str
    took_s: float


class Cluster:
    """One `sailctl demo bookinfo --detach`."""

    SAILCTL = (sys.executable, "-m", "sailcloth.cli")

    def __init__(self, state: Path) -> None:
        self.state = state
        self.found: Object = {}
        self._sessions: dict[str, str] = {}
        self._initial: list[tuple[object, ...]] = []

    # -- commands -------------------------------------------------------------------------------

    def start(self, *options: str) -> Object:
        done = self.sailctl("demo", "bookinfo", "--no-load", "--detach", "-o", "json", *options)
        self.found = json.loads(done)
        return self.found

    def stop(self) -> None:
        self.sailctl("down")

    def sailctl(self, command: str, *arguments: str) -> str:
        where = ("--state", str(self.state)) if command in ("demo", "up", "down", "status") else ()
        done = subprocess.run(
            [*self.SAILCTL, command, *arguments, *where],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=100,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"sailctl {command} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """For commands; kubectl ends before a garbage collection would pay, and takes a quarter less time without one."""
        return {**os.environ, "KUBECONFIG": str(self.state / "kubeconfig"), "NO_COLOR": "1", "GOGC": "off"}

    def kubectl(self, *arguments: str, stdin: str | None = None, fails: bool = False) -> str:
        assert KUBECTL
        done = subprocess.run(
            [KUBECTL, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=100,
            check=False,
        )
        if bool(done.returncode) != fails:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def apply(self, *what: str | Object) -> None:
        """Sample files by name, or objects; returns when every proxy has what was applied."""
        files = [option for name in what if isinstance(name, str) for option in ("-f", str(NETWORKING / name))]
        if files:
            self.kubectl("apply", *files)
            self.applied(*files)
        for obj in what:
            if not isinstance(obj, str):
                self.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
                self.applied(f"{obj['kind']}.networking.istio.io/{obj['metadata']['name']}")

    def applied(self, *which: str) -> None:
        try:
            self.kubectl("wait", "--for=condition=Programmed", "--timeout=10s", *which)
        except AssertionError as error:
            shown = self.kubectl("get", *which, "-o", "jsonpath={..status}")
            raise AssertionError(f"{error}\n{self.sailctl('proxy-status', '-v')}\n{shown}") from None

    def reset(self) -> None:
        """Bookinfo as it was at the start. Does nothing where nothing was changed."""
        if self._initial and self._snapshot() == self._initial:
            return
        self.kubectl("delete", RULES, "--all", "--ignore-not-found")
        self.apply("bookinfo-gateway.yaml", "destination-rule-all.yaml")
        self.eventually(lambda: self.get("/productpage").status == 200)
        self.eventually(self._settled, 40)
        self._initial = self._snapshot()

    def _snapshot(self) -> list[tuple[object, ...]]:
        """What tells the rules and pods of the default namespace from those of another moment."""
        found = json.loads(self.kubectl("get", f"{RULES},pods", "-n", "default", "-o", "json"))["items"]
        return sorted(
            (
                o["metadata"]["uid"],
                o["metadata"].get("generation", 0),
                "deletionTimestamp" in o["metadata"],
                *(c["ready"] for c in (o.get("status") or {}).get("containerStatuses") or ()),
            )
            for o in found
        )

    def _settled(self) -> bool:
        """Whether no pod of an earlier test is still coming or going."""
        pods = json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]
        ready = [c.get("ready") for p in pods for c in p["status"].get("containerStatuses") or [{}]]
        return all(ready) and not any(p["metadata"].get("deletionTimestamp") for p in pods)

    def pod(self, label: str) -> str:
        return self.kubectl("get", "pod", "-l", label, "-o", "jsonpath={.items[0].metadata.name}")

    # -- requests -------------------------------------------------------------------------------

    def process(self, module: str) -> int:
        """The PID of the newest of the cluster's processes that runs a module; 0 if there is none."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    arguments = (entry / "cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if module in arguments and any(str(self.state) in a for a in arguments):
                    found.append(int(entry.name))
        return max(found, default=0)

    def kill(self, module: str) -> None:
        """Kill the process that runs a module, and wait for the next one."""
        pid = self.process(module)
        os.kill(pid, signal.SIGKILL)
        self.eventually(lambda: self.process(module) not in (0, pid))

    @property
    def gateway(self) -> tuple[str, int]:
        host, _, port = str(self.found["urls"]["gateway"]).removeprefix("http://").partition(":")
        return host, int(port)

    def get(self, path: str, user: str = "", **headers: str) -> Answer:
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if user:
            sent["Cookie"] = self.login(user)
        connection = http.client.HTTPConnection(*self.gateway, timeout=30)
        begin = time.monotonic()
        try:
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            body = response.read().decode()
            answered = {k.lower(): v for k, v in response.getheaders()}
            return Answer(response.status, answered, body, time.monotonic() - begin)
        finally:
            connection.close()

    def login(self, user: str) -> str:
        if user not in self._sessions:
            connection = http.client.HTTPConnection(*self.gateway, timeout=30)
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/login", f"username={user}&passwd=any", form)
            self._sessions[user] = str(connection.getresponse().getheader("set-cookie")).partition(";")[0]
            connection.close()
        return self._sessions[user]

    def reviews(self, user: str = "") -> str:
        """Which version of reviews answers: v1 has no stars, v2 black, v3 red ones."""
        return version(self.get("/productpage", user).body)

    def share(self, count: int, user: str = "") -> Counter[str]:
        return Counter(self.reviews(user) for _ in range(count))

    @staticmethod
    def eventually(check: Callable[[], bool], seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < end, "it does not come true"
            time.sleep(0.05)


def virtual_service(host: str, *http: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": host},
        "spec": {"hosts": [host], "http": list(http), **spec},
    }


def to(host: str, subset: str = "", weight: int | None = None) -> Object:
    destination: Object = {"host": host, **({"subset": subset} if subset else {})}
    return {"destination": destination, **({"weight": weight} if weight is not None else {})}


def version(page: str) -> str:
    """The version of reviews on a product page. Raises AssertionError if it has no reviews."""
    assert "entertaining play" in page, page
    color = re.search(r'font color="(red|black)"', page)
    return {"red": "v3", "black": "v2"}[color[1]] if color else "v1"


@dataclass
class Load:
    """Requests on kept connections, as long as the block runs: every answer and every reset is counted."""

    cluster: Cluster
    path: str = "/productpage"
    threads: int = 4
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._workers = [threading.Thread(target=self._run) for _ in range(self.threads)]
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def until(self, total: int, seconds: float = 90) -> None:
        self.cluster.eventually(lambda: self.total >= total, seconds)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self.cluster.gateway, timeout=30)
        while not self._stop.wait(_PAUSE_S):
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                body = response.read()
                key = str(response.status)
                detail = "" if response.status == 200 else f"{response.status} {body[:120]!r}"
            except (OSError, http.client.HTTPException) as error:
                key, detail = "reset", repr(error)
                connection.close()
            with self._lock:
                self.counts[key] += 1
                if detail:
                    self.bad.append(f"{time.time():.3f} {detail}")
        connection.close()
