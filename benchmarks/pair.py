"""What a sidecar pair costs: no proxy, bare Envoy pairs, and ours with more and more telemetry, in one run.

The contestants answer the same client process with the same server process, so that only what stands between differs:

* direct: the client dials the server's pod at a port that capture leaves alone.
* bare: two Envoys of our own (`pair_bare`), one in each pod's network namespace, on ports that capture leaves alone.
* exchange: two more of them that count requests and tell each other their workload in headers, as Istio's proxies do.
* plain: the client dials the service; capture takes the connection, and two injected sidecars carry it, configured live by the
  control plane of a `sailctl up` cluster, without any telemetry.
* quiet: the same two sidecars with Istio's standard metrics, as in a mesh of Istio's default profile.
* logs: with metrics and a line of access log for each request.
* ours: as `sailctl up` has them by default: metrics, access log, and a trace of one request in a hundred.

All run in the network namespaces of the same two pods: same virtual links, same connection tracking. Ours additionally bears
the redirection and the look-up of the original destination, which are part of being a sidecar. The proxies have one worker
thread each and share one CPU (with the pods' PID 1, which takes the log lines); client and server share the other.

Rounds are interleaved (all contestants in turn; then begun one further on), the first is thrown away. In each round, for each
contestant: connections are opened and warmed; then a fixed rate with evenly spaced arrivals gives latency and Envoy's CPU
time for exactly these requests (`/proc/PID/task/*/schedstat`, both proxies, all threads); then a closed loop gives throughput.
A ratio is the median of the rounds' own ratios. Source: performance.md 6, measurements a1, a3, a4, a5, a9.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sailcloth.agent.node_agent import envoy_path
from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import PODS, SERVICES, Resource

from . import machine, meshes, pair_bare, pair_server
from .start import SAILCTL, processes

ROUNDS = 9
RATE, CONNECTIONS, WARM = 1000, 16, 2000
SPACED_S, CLOSED_S = 5.0, 3.0  # many short rounds: a disturbance spoils one of them
SIZES = (10, 100, 1000)
GOAL = 1.15  # of ours without metrics, by CPU time a request at a fixed rate
GOAL_WITH_METRICS = 1.25
APP_PORT, DIRECT_PORT, ADMIN_PORT = 8080, 8081, 15000
HOST = "server.default.svc.cluster.local"
CONTESTANTS = ("direct", "bare", "exchange", "plain", "quiet", "logs", "ours")
OURS = ("plain", "quiet", "logs", "ours")
_TELEMETRIES = Resource("telemetry.istio.io", "v1", "telemetries", "Telemetry")
_ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")

Object = dict[str, Any]


# -- the cluster ----------------------------------------------------------------------------------


def _pod(name: str, command: list[str]) -> Object:
    """An injected pod whose direct and bare ports capture leaves alone, in both directions."""
    left_alone = f"{DIRECT_PORT},{pair_bare.BARE.server},{pair_bare.EXCHANGE.server}"
    prefix = "traffic.sidecar.istio.io/"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": name, "sidecar.istio.io/inject": "true"},
            "annotations": {prefix + "excludeInboundPorts": left_alone, prefix + "excludeOutboundPorts": left_alone},
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "app", "image": "busybox", "command": command, "ports": [{"containerPort": APP_PORT}]}
            ],
        },
    }


def _service(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": APP_PORT}]},
    }


@dataclass
class Pods:
    """What the measurement needs to know of the live cluster."""

    server_ip: str
    service_ip: str
    apps: dict[str, int]  # client and server: the application's process, as seen from here
    envoys: dict[str, int]  # and its sidecar's
    inits: dict[str, int]  # and the pod's PID 1


async def _until(check: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = check()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s: {what}")
        await asyncio.sleep(0.1)


async def _create(client: Client, state: str) -> Pods:
    """Make the pods and the service, wait until they are ready, find their processes."""
    program = Path(pair_server.__file__).read_text()  # as an argument: pods do not see this folder
    python = [sys.executable, "-I", "-S"]
    wait = ["-c", "import signal; signal.pause()", "benchmark-client"]
    await client.create(SERVICES, _service("server"))
    await client.create(PODS, _pod("server", [*python, "-c", program, str(APP_PORT), str(DIRECT_PORT)]))
    await client.create(PODS, _pod("client", [*python, *wait]))

    async def ready(name: str) -> str:
        with contextlib.suppress(ApiError):
            status = (await client.get(PODS, name, "default")).get("status") or {}
            if any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()):
                return str(status["podIP"])
        return ""

    address = await _until(lambda: ready("server"), "the server's pod is not ready")
    await _until(lambda: ready("client"), "the client's pod is not ready")
    service = await client.get(SERVICES, "server", "default")
    known = processes(state)
    apps = {
        "client": next(pid for pid, argv in known.items() if "benchmark-client" in argv),
        "server": next(pid for pid, argv in known.items() if program in argv),
    }
    networks = {os.readlink(f"/proc/{pid}/ns/net"): who for who, pid in apps.items()}
    envoys = {
        networks[network]: pid
        for pid, argv in known.items()
        if argv[0].endswith("envoy") and (network := os.readlink(f"/proc/{pid}/ns/net")) in networks
    }
    inits = {who: _parent(pid) for who, pid in envoys.items()}
    return Pods(address, service["spec"]["clusterIP"], apps, envoys, inits)


async def _telemetry(client: Client, loads: list[Load], who: str) -> None:
    """Give both sidecars the telemetry of one of our contestants, and wait until they have it."""
    metrics, log, traces = (who in some for some in (("quiet", "logs", "ours"), ("logs", "ours"), ("ours",)))
    spec = {
        "metrics": [{"providers": [{"name": "prometheus"}], "overrides": [{"disabled": not metrics}]}],
        "accessLogging": [{"providers": [{"name": "envoy"}], "disabled": not log}],
        "tracing": [{"randomSamplingPercentage": 1.0, "disableSpanReporting": not traces}],
    }
    obj = {"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "spec": spec}
    await client.apply(
        _TELEMETRIES, {**obj, "metadata": {"name": "pair", "namespace": "istio-system"}}, "benchmark", force=True
    )

    def known() -> bool:
        dumps = [x.get("127.0.0.1", ADMIN_PORT, "/config_dump?resource=dynamic_listeners") for x in loads]
        wanted = {"istio_requests_total": metrics, "access_loggers.file": log, "ZipkinConfig": traces}
        return all(d and "draining_state" not in d and all((k in d) == v for k, v in wanted.items()) for d in dumps)

    await _until(known, f"the sidecars do not have the telemetry of {who!r}")


# -- processes ------------------------------------------------------------------------------------


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _pin(pid: int, cpu: int) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {cpu})


def cpu_s(pid: int) -> float:
    """Seconds of CPU time that all threads of a process have had, to the nanosecond where the kernel tells."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((thread / "schedstat").read_text().split()[0])
    if total:
        return total / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _machine_s() -> tuple[float, float]:
    """(busy, all) CPU seconds of the machine since its start."""
    fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / ticks, sum(fields) / ticks


class Load:
    """The client process in the client pod's network."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def order(self, do: str, **what: Any) -> Object:
        """Give an order and wait for the answer. Raises RuntimeError if the client gave up; it has said why."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"do": do, **what}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load client ended on {do} {what}")
        return dict(json.loads(line))

    def get(self, address: str, port: int, path: str, host: str = "localhost") -> str:
        """A page, as seen from the client's pod; empty unless the status is 200."""
        return str(self.order("get", address=address, port=port, path=path, host=host)["text"])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def _running(argv: list[str], log: Path) -> Iterator[int]:
    with log.open("w") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# -- measuring ------------------------------------------------------------------------------------


@dataclass
class Contestant:
    """Where the client dials, and whose CPU time is counted."""

    address: str
    port: int
    envoys: dict[str, int] = field(default_factory=dict)
    inits: dict[str, int] = field(default_factory=dict)


def _part(load: Load, server: int, contestant: Contestant, do: str, **what: Any) -> Object:
    """One order, with the CPU time that everyone had for it, in µs a request."""
    watched = {"client_envoy": contestant.envoys.get("client"), "server_envoy": contestant.envoys.get("server")}
    inits = {f"{who}_init": pid for who, pid in contestant.inits.items()}
    pids = {name: pid for name, pid in {**watched, **inits, "app": server, "load": load.pid}.items() if pid}
    busy, total = _machine_s()
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    out = load.order(do, **what)
    after = {name: cpu_s(pid) for name, pid in pids.items()}
    busy, total = (b - a for a, b in zip((busy, total), _machine_s(), strict=True))
    used = {name: after[name] - before[name] for name in pids}
    out.update({f"{name}_us": s / out["requests"] * 1e6 for name, s in used.items()})
    out["envoys_us"] = sum(out.get(f"{name}_us", 0.0) for name in watched)
    out["inits_us"] = sum(out[f"{name}_us"] for name in inits)
    out["others_share"] = max(0.0, busy - sum(used.values())) / total if total else 0.0
    out["seconds"] = total / (os.cpu_count() or 1)
    return out


def _round(load: Load, server: int, contestant: Contestant, spaced_s: float, closed_s: float) -> Object:
    load.order(
        "connect",
        address=contestant.address,
        port=contestant.port,
        host=HOST,
        connections=CONNECTIONS,
        warm=WARM,
    )
    out = {
        "spaced": _part(load, server, contestant, "spaced", rate=RATE, count=max(50, int(RATE * spaced_s))),
        "closed": _part(load, server, contestant, "closed", seconds=closed_s),
    }
    load.order("close")
    return out


def _series(load: Load) -> int:
    """Statistics that the client's sidecar keeps."""
    return len(load.get("127.0.0.1", ADMIN_PORT, "/stats").splitlines())


async def _grow(client: Client, load: Load, pods: Pods, sizes: tuple[int, ...]) -> Object:
    """Memory and number of statistics of a sidecar by services in the mesh."""
    out: Object = {}
    made = 0
    for size in sizes:
        for number in range(made, size):
            await client.create(SERVICES, meshes.service(number))
            await client.create(_ENDPOINTSLICES, meshes.endpoints(number))
        made = size

        def known(size: int = size) -> bool:
            text = load.get("127.0.0.1", ADMIN_PORT, "/clusters")
            return len({x.partition("::")[0] for x in text.splitlines() if x.startswith("outbound|80||s")}) >= size

        await _until(known, f"the sidecar does not know {size} services", 60)
        await asyncio.sleep(1)
        for name, kind in (("rss", "Rss"), ("pss", "Pss")):
            out[f"{name}_mb_{size}_services"] = round(machine.memory_mb(pods.envoys["client"], kind), 1)
        out[f"stats_series_{size}_services"] = _series(load)
    return out


async def run(
    rounds: int = ROUNDS, spaced_s: float = SPACED_S, closed_s: float = CLOSED_S, sizes: tuple[int, ...] = SIZES
) -> Object:
    """CPU time a request, latency, throughput and memory of the contestants, and the ratios of ours to bare."""
    state = tempfile.mkdtemp(prefix="sailcloth-bench-")
    try:
        command = [*SAILCTL, "up", "--detach", "-o", "json", "--state", state]
        up = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        if up.returncode:
            raise RuntimeError(f"sailctl up: {up.stderr}")
        async with Client.from_kubeconfig(json.loads(up.stdout)["kubeconfig"]) as client:
            pods = await _create(client, state)
            with contextlib.ExitStack() as stack:
                return await _measure(client, pods, Path(state), stack, rounds, spaced_s, closed_s, sizes)
    finally:
        await asyncio.to_thread(subprocess.run, [*SAILCTL, "down", "--state", state], capture_output=True, check=False)
        shutil.rmtree(state, ignore_errors=True)


async def _measure(
    client: Client,
    pods: Pods,
    folder: Path,
    stack: contextlib.ExitStack,
    rounds: int,
    spaced_s: float,
    closed_s: float,
    sizes: tuple[int, ...],
) -> Object:
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))

    def entered(who: str, cpu: int, *program: str) -> list[str]:
        return [sys.executable, "-m", "benchmarks.pair_enter", str(pods.apps[who]), str(cpu), *program]

    pairs: dict[str, dict[str, int]] = {}
    for name, ports in (("bare", pair_bare.BARE), ("exchange", pair_bare.EXCHANGE)):
        (folder / name).mkdir()
        paths = pair_bare.write(folder / name, pods.server_ip, DIRECT_PORT, ports, name == "exchange")
        for who, path in paths.items():
            options = ("-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
            argv = entered(who, last, envoy_path(), *options)
            pairs.setdefault(name, {})[who] = stack.enter_context(_running(argv, folder / name / f"{who}.log"))
    _pin(pods.apps["server"], first)
    for pid in (*pods.envoys.values(), *pods.inits.values()):
        _pin(pid, last)
    load, other = (
        Load(entered(who, first, sys.executable, "-m", "benchmarks.pair_client")) for who in ("client", "server")
    )
    stack.callback(load.stop)
    stack.callback(other.stop)

    contestants = {
        "direct": Contestant(pods.server_ip, DIRECT_PORT),
        "bare": Contestant("127.0.0.1", pair_bare.BARE.client, pairs["bare"]),
        "exchange": Contestant("127.0.0.1", pair_bare.EXCHANGE.client, pairs["exchange"]),
        **{name: Contestant(pods.service_ip, 80, pods.envoys, pods.inits) for name in OURS},
    }
    for name, each in contestants.items():

        def answers(each: Contestant = each) -> bool:
            return len(load.get(each.address, each.port, "/a", HOST)) == len(pair_server.BODY)

        await _until(answers, f"{name}: no answer")
    raw: list[dict[str, Object]] = []
    for number in range(rounds + 1):
        shift = number % len(CONTESTANTS)
        order = CONTESTANTS[shift:] + CONTESTANTS[:shift]
        found = {}
        for name in order:
            if name in OURS:
                await _telemetry(client, [load, other], name)
            found[name] = _round(load, pods.apps["server"], contestants[name], spaced_s, closed_s)
        if number:
            raw.append({n: found[n] for n in CONTESTANTS})
    await _telemetry(client, [load, other], "ours")
    memory = {}
    for name in ("bare", "exchange", "ours"):
        for kind in ("Rss", "Pss"):
            sizes_mb = [machine.memory_mb(pid, kind) for pid in contestants[name].envoys.values()]
            memory[f"{kind.lower()}_mb_per_envoy_{name}"] = round(statistics.mean(sizes_mb), 1)
    return {**report(raw), **memory, **await _grow(client, load, pods, sizes), "raw": _rounded(raw)}


# -- results --------------------------------------------------------------------------------------


def report(raw: list[dict[str, Object]]) -> Object:
    """Medians, spreads, and ratios from the rounds."""

    def values(name: str, part: str, key: str) -> list[float]:
        return [r[name][part][key] for r in raw]

    def ratio(who: str, part: str, key: str) -> list[float]:
        return [a / b for a, b in zip(values(who, part, key), values("bare", part, key), strict=True)]

    def added(who: str, key: str) -> list[float]:
        """What proxies add to the direct path, over what the bare pair adds. Of no use for p99: the difference may be nothing."""
        direct, bare, proxied = (values(x, "spaced", key) for x in ("direct", "bare", who))
        return [(p - d) / max(1e-3, b - d) for d, b, p in zip(direct, bare, proxied, strict=True)]

    out: Object = {
        "goal_cpu_ratio": GOAL,
        "goal_cpu_ratio_with_metrics": GOAL_WITH_METRICS,
        "rounds": len(raw),
        "rate": RATE,
        "connections": CONNECTIONS,
    }
    ratios: dict[str, list[float]] = {}
    for who in ("exchange", *OURS):
        ratios |= {
            f"cpu_ratio_{who}_to_bare": ratio(who, "spaced", "envoys_us"),
            f"p50_ratio_{who}_to_bare": ratio(who, "spaced", "p50"),
            f"p99_ratio_{who}_to_bare": ratio(who, "spaced", "p99"),
            f"rps_ratio_{who}_to_bare": ratio(who, "closed", "rps"),
            f"cpu_closed_ratio_{who}_to_bare": ratio(who, "closed", "envoys_us"),
            f"added_p50_ratio_{who}_to_bare": added(who, "p50"),
        }
    for name, found in ratios.items():
        out[name] = round(statistics.median(found), 3)
    for name, found in ratios.items():
        out[name + "_spread"] = _spread(found)
    for who in OURS:
        out[f"cpu_goal_met_{who}"] = out[f"cpu_ratio_{who}_to_bare"] <= (GOAL if who == "plain" else GOAL_WITH_METRICS)
    against = [
        q / e
        for q, e in zip(values("quiet", "closed", "envoys_us"), values("exchange", "closed", "envoys_us"), strict=True)
    ]
    out["cpu_closed_ratio_quiet_to_exchange"] = round(statistics.median(against), 3)
    out["cpu_closed_ratio_quiet_to_exchange_spread"] = _spread(against)

    def tell(name: str, found: list[float], digits: int) -> None:
        out[name] = round(statistics.median(found), digits)
        out[name + "_spread"] = _spread(found, digits)

    for who in CONTESTANTS:
        for key in ("p50", "p90", "p99"):
            tell(f"{key}_ms_{who}", values(who, "spaced", key), 3)
        tell(f"rps_{who}", values(who, "closed", "rps"), 0)
    for who in ("bare", "exchange", *OURS):
        for key, part in (("cpu_us_per_request", "spaced"), ("cpu_closed_us_per_request", "closed")):
            tell(f"{key}_{who}", values(who, part, "envoys_us"), 1)
            for side in ("client", "server"):
                tell(f"{key}_{who}_{side}", values(who, part, f"{side}_envoy_us"), 1)
            if who in OURS:
                tell(f"{key}_{who}_log_writers", values(who, part, "inits_us"), 1)
    for (
        who
    ) in CONTESTANTS:  # the load itself: at 1 its CPU is full and the throughput is the client's, not the contestant's
        for part in ("spaced", "closed"):
            shares = [(r[who][part]["load_us"] + r[who][part]["app_us"]) * r[who][part]["requests"] / 1e6 for r in raw]
            busy = [s / r[who][part]["seconds"] for s, r in zip(shares, raw, strict=True)]
            out[f"load_and_app_cpu_share_{part}_{who}"] = round(statistics.median(busy), 2)
    direct = values("direct", "spaced", "p50")
    out["direct_p50_drift"] = round(max(direct) / min(direct) - 1, 2)
    out["others_cpu_share_max"] = round(max(r[w][p]["others_share"] for r in raw for w in r for p in r[w]), 3)
    out["steady"] = out["direct_p50_drift"] <= 0.25 and out["others_cpu_share_max"] <= 0.05
    return out


def _spread(values: list[float], digits: int = 3) -> Object:
    """Median, extremes, count, and the quartiles if there are enough values for them."""
    out: Object = machine.spread(values, digits)
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        out |= {"q1": round(low, digits), "q3": round(high, digits)}
    return out


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value
