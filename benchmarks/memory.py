"""What a sidecar holds at 1000 services, by what it is told of them, and what the first use of a cluster costs a request.

A local cluster with 1000 services, all of one web server's pod, and a calling pod for each mode, each in the same mesh:

* statistics: every cluster, and every statistic of it (the annotation `statsInclusionRegexps: .*`), as a plain Envoy would
* all: every cluster, Istio's default statistics
* scoped: a Sidecar object names the ten services that are called
* on_demand: clusters on first use, ten are called
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from typing import Any

from . import machine
from .start import SAILCTL, processes

SERVICES, USED, FIRST = 1000, 10, 100
_NS = "wide"
_MODES: dict[str, dict[str, str]] = {
    "statistics": {"sidecar.istio.io/statsInclusionRegexps": ".*"},
    "all": {},
    "scoped": {},
    "on_demand": {"sailcloth.io/clusters": "on-demand"},
}
Object = dict[str, Any]


async def run() -> dict[str, Any]:
    """See `_run`."""
    return await asyncio.to_thread(_run)


def _run() -> dict[str, Any]:
    """MB of each mode's Envoy after it has called ten services, and milliseconds to the first byte of first and second
    requests to a hundred others, all clusters pushed against clusters on first use, in turn."""
    state = tempfile.mkdtemp(prefix="sailcloth-bench-")
    try:
        up = subprocess.run(
            [*SAILCTL, "up", "--detach", "-o", "json", "--state", state, "--http-port", "0", "--api-port", "0"],
            capture_output=True,
            check=True,
        )
        mesh = _Mesh(state, json.loads(up.stdout)["kubeconfig"])
        mesh.fill()
        for mode in _MODES:
            mesh.first_bytes(mode, range(USED))
        out: dict[str, Any] = {"services": SERVICES, "used": USED}
        for mode in _MODES:
            out[f"{mode}_mb"] = mesh.memory(mode)
        out.update(mesh.latencies())
        out["on_demand_clusters_at_the_end"] = mesh.clusters("on_demand")
        return out
    finally:
        subprocess.run([*SAILCTL, "down", "--state", state], capture_output=True, check=False)
        shutil.rmtree(state, ignore_errors=True)


class _Mesh:
    def __init__(self, state: str, kubeconfig: str) -> None:
        self.state, self.kubeconfig = state, kubeconfig

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        command = ["kubectl", "--kubeconfig", self.kubeconfig, "-n", _NS, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout

    def fill(self) -> None:
        """The services and the pods."""
        namespace = {"apiVersion": "v1", "kind": "Namespace"}
        namespace["metadata"] = {"name": _NS, "labels": {"istio-injection": "enabled"}}  # type: ignore[assignment]
        self._create([namespace])
        self._create([_service(i) for i in range(SERVICES)])
        self._create([_server(), *(_caller(mode) for mode in _MODES), _scope()])
        self.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s")
        end = time.monotonic() + 120
        while not self._complete():
            if time.monotonic() > end:
                raise RuntimeError("the services have no endpoints, or the proxies do not know of them")
            time.sleep(0.5)

    def _complete(self) -> bool:
        """Whether every service has an endpoint and every proxy knows of it."""
        addresses = self.kubectl("get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].addresses}").split()
        command = [*SAILCTL, "proxy-status", "-o", "json", "--kubeconfig", self.kubeconfig]
        done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        synced = all(state in ("SYNCED", "NOT SENT") for proxy in done for state in proxy["types"].values())
        return len(addresses) >= SERVICES and len(done) >= len(_MODES) and synced

    def _create(self, objects: list[Object]) -> None:
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def first_bytes(self, mode: str, services: range) -> list[float]:
        """Milliseconds from the connection to the first byte of one request to each of the services; fails if one fails."""
        form = "%{http_code} %{time_connect} %{time_starttransfer}\\n"
        urls = [part for i in services for part in ("-o", "/dev/null", f"http://s{i:04d}.{_NS}:8000/status/200")]
        command = ("exec", f"deploy/{mode.replace('_', '-')}", "-c", "curl", "--", "curl", "-s", "-w", form, *urls)
        answers = [line.split() for line in self.kubectl(*command).splitlines()]
        bad = [a for a in answers if a[0] != "200"]
        if bad or len(answers) != len(services):
            raise RuntimeError(f"{mode}: {len(bad)} of {len(answers)} requests failed: {bad[:3]}")
        return [(float(end) - float(begin)) * 1000 for _, begin, end in answers]

    def latencies(self) -> dict[str, Any]:
        """First and second requests to services not called before, in turn between two callers."""
        found: dict[str, list[float]] = {}
        for start in range(USED, USED + FIRST, 10):
            for mode in ("all", "on_demand"):
                for turn in ("first", "second"):
                    found.setdefault(f"{turn}_request_{mode}_ms", []).extend(
                        self.first_bytes(mode, range(start, start + 10))
                    )
        out: dict[str, Any] = {}
        for name, values in found.items():
            ordered = sorted(values)
            out[name] = {
                "p50": round(statistics.median(ordered), 2),
                "p99": round(ordered[int(len(ordered) * 0.99) - 1], 2),
                "max": round(ordered[-1], 2),
                "n": len(ordered),
            }
        return out

    def pod(self, mode: str) -> str:
        label = f"app={mode.replace('_', '-')}"
        return self.kubectl("get", "pods", "-l", label, "-o", "jsonpath={.items[0].metadata.uid}")

    def memory(self, mode: str) -> dict[str, float]:
        """Rss, Pss and anonymous memory of a caller's Envoy."""
        uid = self.pod(mode)
        time.sleep(0.5)
        for pid, argv in processes(self.state).items():
            if argv[0].endswith("envoy") and any(uid[:12] in a for a in argv):
                names = (("rss", "Rss"), ("pss", "Pss"), ("anonymous", "Anonymous"))
                return {key: round(machine.memory_mb(pid, field), 1) for key, field in names}
        raise RuntimeError(f"no Envoy of {mode}")

    def clusters(self, mode: str) -> int:
        """Outbound clusters that a caller's Envoy has."""
        name = self.kubectl(
            "get", "pods", "-l", f"app={mode.replace('_', '-')}", "-o", "jsonpath={.items[0].metadata.name}"
        )
        command = [
            *SAILCTL,
            "pc",
            "cluster",
            f"{name}.{_NS}",
            "--kubeconfig",
            self.kubeconfig,
            "--direction",
            "outbound",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return len(done.stdout.splitlines()) - 1


def _service(index: int) -> Object:
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 8000, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{index:04d}"}, "spec": spec}


def _deployment(name: str, container: Object, annotations: dict[str, str]) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def _server() -> Object:
    scoped = {"sailcloth.io/clusters": "on-demand"}  # it calls nobody
    container = {"name": "web", "image": "docker.io/mccutchen/go-httpbin:v2.15.0", "ports": [{"containerPort": 8080}]}
    return _deployment("web", container, scoped)


def _caller(mode: str) -> Object:
    container = {"name": "curl", "image": "curlimages/curl", "command": ["sleep", "infinity"]}
    return _deployment(mode.replace("_", "-"), container, _MODES[mode])


def _scope() -> Object:
    hosts = [f"./s{i:04d}.{_NS}.svc.cluster.local" for i in range(USED)]
    spec = {"workloadSelector": {"labels": {"app": "scoped"}}, "egress": [{"hosts": hosts}]}
    metadata = {"name": "scoped"}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": metadata, "spec": spec}
